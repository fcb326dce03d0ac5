"""Starting servers by `amazin`: what is said, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from amazin.blobs.sos_conf import BlobServer
from amazin.cli.api_server import start_lines
from amazin.cli.serve import start_lines as serve_lines
from amazin.settings.config_file import defaults_text
from amazin.settings.settings import Settings
from tests.support.command_process import CommandProcess, run
from tests.support.ports import free_port

URLS = "http://a:1,http://b:2"


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["api-server"], {}, "No blob servers are known"),
        (
            ["api-server", "-blob-server", URLS, "-upload-port", "9992"],
            {},
            "can't be the same",
        ),
        (["api-server", "-blob-server", "nonsense"], {}, "nonsense"),
        (["api-server", "-blob-server", URLS], {"WORKERS": "many"}, "WORKERS"),
        (["blob-server", "-port", "0"], {}, "'-port'"),
        (["blob-server", "-store", "/proc/store"], {}, "/proc/store can't be made"),
        (["blob-server"], {"ACCESS": "signed"}, "ACCESS"),
        (["blob-server", "-bogus"], {}, "No such option"),
        (["serve", "--port", "70000"], {}, "--port"),
        (["serve"], {"REPLICAS": "0"}, "REPLICAS"),
        (["serve"], {"NODES": "a=http://k:s@a:1"}, "set DISCOVERY=static"),
        (["serve"], {"DNS_NAME": "nodes"}, "set DISCOVERY=dns"),
        (["serve"], {"NODES": "nonsense"}, "set DISCOVERY=static"),
        (["serve"], {"CONFIG": "none.yaml"}, "none.yaml; `amazin config --write`"),
    ],
)
def test_mistakes_end_the_start_with_a_sentence(
    tmp_path: Path, arguments: list[str], settings: Mapping[str, str], said: str
) -> None:
    done = run(*arguments, folder=tmp_path, settings=settings)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_blob_of_sos_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "content").write_bytes(b"a cat")
    done = run("blob-server", folder=tmp_path)
    assert done.returncode == 2
    assert "the blob `content` of sos lies where a folder has to be" in done.stderr


def test_the_blob_servers_are_printed(tmp_path: Path) -> None:
    expected = "\t     group - server\n"
    done = run("api-server", "-dump", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, expected)
    expected += "\t   default - http://a:1\n\t   default - http://b:2\n"
    done = run("api-server", f"-blob-server={URLS}", "--dump", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, expected)


def test_secrets_are_not_said_at_the_start(tmp_path: Path) -> None:
    servers = [BlobServer("g", "http://t0ken@a:1"), BlobServer("g", "http://b:1")]
    lines = start_lines("0.0.0.0:9991", "0.0.0.0:9992", servers)
    assert lines.endswith("\t         g - http://a:1\n\t         g - http://b:1\n")
    assert "t0ken" not in lines


def test_blob_servers_are_read_from_the_users_file(tmp_path: Path) -> None:
    (tmp_path / ".sos.conf").write_text("[1]\n-: http://n1:1\n")
    done = run("api-server", "-dump", folder=tmp_path)
    assert done.stdout == "\t     group - server\n\t         1 - http://n1:1\n"


def test_serve_keeps_objects_in_folders_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "errors.py").write_text("raise SystemExit('the wrong module')")
    port = free_port()
    arguments = ("serve", "--host", "127.0.0.1", "--port", str(port))
    gateway = CommandProcess(tmp_path, port, *arguments)
    try:
        gateway.start()
        assert gateway.ask("PUT", "/object/cat", b"a cat").status == 201
        assert gateway.ask("GET", "/object/cat").body == b"a cat"
        assert gateway.stop() == 0
    finally:
        gateway.stop()
    lines = gateway.log.read_text().splitlines()
    begin = lines.index(f"Amazin Object Storage on http://127.0.0.1:{port}")
    assert any("Listening at" in line for line in lines[:begin])
    assert lines[begin + 1] == f"Objects lie in {tmp_path}/data"
    assert "ACCESS=open" not in gateway.log.read_text()
    assert (tmp_path / "data" / "node-1" / "index.sqlite").is_file()


def test_the_start_says_which_file_it_read_and_who_may_do_what() -> None:
    lines = serve_lines(Settings(data_dir="/d", discovery="folders"), Path("/c.yaml"))
    assert lines.splitlines()[:3] == [
        "Amazin Object Storage on http://localhost:3000",
        "Settings come from /c.yaml",
        "Objects lie in /d",
    ]
    assert lines.splitlines()[-1].startswith("ACCESS=open: whoever reaches port 3000")
    assert "ACCESS" not in serve_lines(Settings(access="signed"), None)


def test_serve_takes_a_file_of_defaults_as_it_is_without_one(tmp_path: Path) -> None:
    """As earlier versions wrote it, with all defaults set."""
    text = re.sub(r"^( *)#(\w+: [^\n]*)", r"\1\2", defaults_text(), flags=re.MULTILINE)
    text = text.replace('discovery: "docker"', 'discovery: ""')
    (tmp_path / "old.yaml").write_text(text)
    settings = {"CONFIG": "old.yaml", "SPOOL_DIR": "none", "DOCKER_HOST": "ssh://h"}
    done = run("serve", folder=tmp_path, settings=settings)
    assert done.stderr.startswith(f"Settings: SPOOL_DIR: {tmp_path}/none can't be used")
    (tmp_path / "old.yaml").write_text(
        text.replace("nodes: []", 'nodes: ["a=http://b"]')
    )
    done = run("serve", folder=tmp_path, settings=settings)
    assert "NODES is set, but DISCOVERY is not" in done.stderr


def test_serve_does_what_a_configuration_file_says(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.yaml").write_text("discovery: static\n")
    done = run("serve", folder=tmp_path)
    assert done.returncode == 2
    assert "DISCOVERY=static needs NODES" in done.stderr
