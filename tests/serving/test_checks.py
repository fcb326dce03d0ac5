"""What a server says before it starts about this machine, and whom it lets in."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from amazin.serving.checks import (
    ATTEMPTS,
    check_address,
    check_addresses,
    check_spool,
    open_access,
)
from amazin.settings.settings import Settings

FOREIGN = "192.0.2.1"
"""An address that only documentation has."""


def refusing(number: int) -> object:
    """Return an attempt to listen that fails."""

    def attempt(host: str, port: int) -> None:
        raise OSError(number, "the system's words")

    return attempt


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (FOREIGN, f"Settings: HOST: '{FOREIGN}' is no address of this machine$"),
        ("a..b", "Settings: HOST: 'a..b' is no name with an IPv4 address: "),
    ],
)
def test_a_host_that_is_not_here_is_named(host: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        check_address(host, 3000)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "PORT: 80 takes more rights: it is a port for root"),
        (errno.EAFNOSUPPORT, "HOST: '::' can't be used: this machine has no IPv6"),
        (errno.EPERM, "HOST: can't listen on port 80 of ::: the system's words"),
    ],
)
def test_what_forbids_to_listen_is_said(number: int, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        check_address("::", 80, attempt_once=refusing(number))  # type: ignore[arg-type]


def test_a_port_in_use_is_tried_for_a_while() -> None:
    pauses: list[float] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        said = f"^Settings: PORT: another program listens on port {port} of 127.0.0.1$"
        with pytest.raises(SystemExit, match=said):
            check_address("127.0.0.1", port, pause=pauses.append)
        assert len(pauses) == ATTEMPTS - 1
        check_address("127.0.0.1", port, pause=lambda _: other.close())


def test_addresses_that_gunicorn_was_given_name_no_setting() -> None:
    cfg = SimpleNamespace(bind=["x"], address=["/sock", (FOREIGN, 1)], reuse_port=False)
    with pytest.raises(SystemExit, match=f"^Settings: '{FOREIGN}' is no address"):
        check_addresses(SimpleNamespace(cfg=cfg), "0.0.0.0:3000")
    cfg.reuse_port = True
    check_addresses(SimpleNamespace(cfg=cfg), "0.0.0.0:3000")


def test_a_spool_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    check_spool(str(tmp_path))
    (tmp_path / "file").write_text("")
    for name in ("missing", "file"):
        with pytest.raises(
            SystemExit, match=f"^Settings: SPOOL_DIR: {tmp_path}/{name} "
        ):
            check_spool(f"{tmp_path}/{name}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_spool_is_shown_from_the_root_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"SPOOL_DIR: {tmp_path}/none can't be used: "):
        check_spool("none")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example"])
def test_open_access_says_to_whom(host: str) -> None:
    said = open_access(Settings(), [("127.0.0.1", 1), (host, 3000)])
    assert said.startswith("ACCESS=open: whoever reaches port 3000 of this machine may")
    assert "\n" not in said
    signed = Settings(access="signed", api_tokens=("a-token-that-is-long",))
    assert open_access(signed, [(host, 3000)]) == ""


def test_tokens_that_nobody_is_asked_for_are_mentioned() -> None:
    said = open_access(Settings(api_tokens=("a-token",)), [("127.0.0.1", 3000)])
    assert said == "ACCESS=open: nobody is asked for one of API_TOKENS"


@pytest.mark.parametrize(
    "address",
    [
        *((host, 1) for host in ("127.0.0.1", "::1", "LocalHost", "::ffff:127.0.0.1")),
        "/s",
    ],
)
def test_open_access_for_this_machine_alone_is_not_mentioned(address: object) -> None:
    assert open_access(Settings(), [address]) == ""
