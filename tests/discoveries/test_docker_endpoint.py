"""Which daemon is asked: as the `docker` command chooses it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from amazin.discoveries.docker_endpoint import Endpoint, choose_endpoint
from amazin.errors import SettingsError
from amazin.settings.settings import Settings


def chosen(folder: Path, **settings: Any) -> Endpoint:
    return choose_endpoint(Settings(**settings), folder)


def context(folder: Path, name: str, **endpoint: Any) -> Path:
    """Make a context as `docker context create` does; return the folder for TLS."""
    id_ = sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / id_ / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    return folder / "contexts/tls" / id_ / "docker"


def with_files(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.pem").touch()
    return folder


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "unix:///var/run/docker.sock"),
        ("unix:///run/user/1000/docker.sock", "unix:///run/user/1000/docker.sock"),
        ("tcp://proxy:2375", "tcp://proxy:2375"),
        ("tcp://proxy/", "tcp://proxy:2375"),
        ("tcp://[fd00::1]", "tcp://[fd00::1]:2375"),
        ("http://proxy:80", "http://proxy:80"),
        ("ssh://me@machine", "ssh://me@machine"),
    ],
)
def test_a_daemon_without_tls(tmp_path: Path, host: str, url: str) -> None:
    assert chosen(tmp_path, docker_host=host) == Endpoint(url)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"docker_host": "tcp://d:1", "docker_tls_verify": True}, "tcp://d:1"),
        ({"docker_host": "tcp://d", "docker_tls_verify": True}, "tcp://d:2376"),
        ({"docker_host": "https://d"}, "https://d:2376"),
    ],
)
def test_tls_with_the_files_of_the_docker_command(
    tmp_path: Path, settings: dict[str, Any], url: str
) -> None:
    files = with_files(tmp_path, "ca", "cert", "key")
    found = chosen(tmp_path, **settings)
    assert found.url == url and found.tls
    assert found.tls.cert == (str(files / "cert.pem"), str(files / "key.pem"))
    assert (found.tls.ca_cert, found.tls.verify) == (str(files / "ca.pem"), True)


def test_a_folder_of_its_own_turns_tls_on_and_verifies(tmp_path: Path) -> None:
    files = with_files(tmp_path / "own", "ca")
    host = "tcp://d:2376"
    found = chosen(tmp_path, docker_host=host, docker_cert_path=str(files))
    assert found.tls and found.tls.verify is True and found.tls.cert is None
    with_files(files, "cert")
    with pytest.raises(SettingsError, match=r"^DOCKER_CERT_PATH: .*/key.pem is"):
        chosen(tmp_path, docker_host=host, docker_cert_path=str(files))
    with pytest.raises(SettingsError, match=r"^DOCKER_CERT_PATH: .* has no ca.pem"):
        chosen(tmp_path, docker_host=host, docker_cert_path=str(tmp_path))


def test_tls_is_not_for_sockets(tmp_path: Path) -> None:
    host = "unix:///docker.sock"
    assert chosen(tmp_path, docker_host=host, docker_cert_path="x") == Endpoint(host)


def test_the_context_that_is_named_or_current(tmp_path: Path) -> None:
    context(tmp_path, "rootless", Host="unix:///run/user/1000/docker.sock")
    context(tmp_path, "far", Host="ssh://me@machine", SkipTLSVerify=False)
    assert chosen(tmp_path).url == "unix:///var/run/docker.sock"
    assert chosen(tmp_path, docker_context="far").url == "ssh://me@machine"
    (tmp_path / "config.json").write_text('{"currentContext": "rootless"}')
    assert chosen(tmp_path).url == "unix:///run/user/1000/docker.sock"
    assert chosen(tmp_path, docker_context="far").url == "ssh://me@machine"
    assert chosen(tmp_path, docker_context="default") == Endpoint()
    assert chosen(tmp_path, docker_host="tcp://d:1").url == "tcp://d:1"
    (tmp_path / "config.json").write_text('{"auths": {}}')
    assert chosen(tmp_path) == Endpoint()


@pytest.mark.parametrize("is_unverified", [False, True])
def test_a_context_with_tls(tmp_path: Path, is_unverified: bool) -> None:
    files = context(tmp_path, "far", Host="tcp://d:2376", SkipTLSVerify=is_unverified)
    with_files(files, "ca", "cert", "key")
    found = chosen(tmp_path, docker_context="far")
    assert found.tls and found.tls.ca_cert == str(files / "ca.pem")
    assert found.tls.verify is not is_unverified


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^DOCKER_CONTEXT: .* no context gone"):
        chosen(tmp_path, docker_context="gone")
    (tmp_path / "config.json").write_text('{"currentContext": "gone"}')
    with pytest.raises(SettingsError, match=r"config.json: currentContext: .* gone"):
        chosen(tmp_path)


@pytest.mark.parametrize(
    "host", ["npipe:////./pipe/docker_engine", "tcp://d/path", 7, None]
)
def test_a_context_that_cannot_be_used(tmp_path: Path, host: Any) -> None:
    context(tmp_path, "odd", Host=host)
    with pytest.raises(SettingsError, match=r"^DOCKER_CONTEXT: the context odd can't"):
        chosen(tmp_path, docker_context="odd")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()  # as those of another user
    assert chosen(tmp_path) == Endpoint()
    (tmp_path / "key.pem").mkdir()
    with_files(tmp_path, "ca", "cert")
    with pytest.raises(SettingsError, match=r"^DOCKER_CERT_PATH: .*key.pem can't be"):
        chosen(tmp_path, docker_host="https://d")


@pytest.mark.parametrize("content", ["{", "[]", "\0"])
def test_a_broken_configuration_of_the_docker_command(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(SettingsError, match=r"config.json: can't be read"):
        chosen(tmp_path)
    assert chosen(tmp_path, docker_host="tcp://d:1").url == "tcp://d:1"
