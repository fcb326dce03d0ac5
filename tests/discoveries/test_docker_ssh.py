"""A daemon behind `ssh`, for which other programs stand in."""

from __future__ import annotations

from contextlib import suppress

import pytest

from amazin.discoveries.docker_ssh import SshConnection, SshError, ssh_command
from tests.support.cleanup import closed_later

PATIENCE_SECONDS = 30.0
ANSWER = r"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def connection(*command: str, timeout: float = PATIENCE_SECONDS) -> SshConnection:
    return closed_later(SshConnection(list(command), timeout))


@pytest.mark.parametrize(
    ("url", "end"),
    [
        ("ssh://machine", ["--", "machine"]),
        ("ssh://me@machine:2222", ["-l", "me", "-p", "2222", "--", "machine"]),
        ("ssh://me@[fd00::1]", ["-l", "me", "--", "fd00::1"]),
    ],
)
def test_the_command(url: str, end: list[str]) -> None:
    command = ssh_command(url)
    assert command[0] == "ssh" and "BatchMode=yes" in command
    assert command[-len(end) - 1 :] == [*end, "docker system dial-stdio"]


def test_requests_and_answers_go_through_one_process() -> None:
    answer = f"while read line; do case $line in GET*) printf '{ANSWER}';; esac; done"
    ssh = connection("sh", "-c", answer)
    for _ in range(2):
        ssh.request("GET", "/version")
        assert ssh.getresponse().data == b"hi"
        assert ssh.is_connected


def test_what_ssh_says_is_the_error() -> None:
    words = "echo 'a banner' >&2; echo 'Permission denied (publickey).' >&2; exit 255"
    ssh = connection("sh", "-c", words)
    with pytest.raises(SshError, match=r"^Permission denied \(publickey\)\.$"):
        ask(ssh)


def test_an_ssh_that_hangs() -> None:
    ssh = connection("sleep", "600", timeout=0.1)
    with pytest.raises(SshError, match="no answer in time"):
        ask(ssh)


def test_no_ssh() -> None:
    with pytest.raises(FileNotFoundError):
        ask(connection("no such program"))


def ask(ssh: SshConnection) -> None:
    with suppress(BrokenPipeError):  # as urllib3 does: the answer says why
        ssh.request("GET", "/version")
    ssh.getresponse()
