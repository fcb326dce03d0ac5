"""What `amazin put`, `get`, `rm` and `cp` do with pipes, and without any."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_process import MAIN, command_environ
from tests.support.scripted_gateway import ScriptedGateway, content

BODY = b"a line of the object\n" * 5000
GET = '"$@" get photos/a'
CP = '"$@" cp photos/a'

Gateway = Callable[..., ScriptedGateway]


def shell(
    line: str, gateway: ScriptedGateway, folder: Path, code: int = 0
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `"$@"` is `amazin`; it ends with this code."""
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-P", "-c", MAIN],
        cwd=folder,
        env=command_environ(folder, {"AMAZIN_URL": gateway.url}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "line",
    [
        f"{GET} /dev/stdout",
        f"{CP} /dev/stdout",
        f"{GET} /dev/fd/3 3>&1 >/dev/null",
        f"{GET} /dev/stdout | cat",
        f"{GET} >(cat) >/dev/null",
    ],
)
def test_a_pipe_that_is_given_as_a_path_gets_nothing_but_the_object(
    line: str, gateway: Gateway, tmp_path: Path
) -> None:
    done = shell(line, gateway(content(BODY)), tmp_path)
    assert done.stdout + done.stderr == BODY
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_standard_output_goes_to_is_replaced(
    gateway: Gateway, tmp_path: Path
) -> None:
    shell(f"{GET} /dev/stdout >out", gateway(content(BODY)), tmp_path)
    assert (tmp_path / "out").read_bytes() == BODY


@pytest.mark.parametrize(
    "line",
    [
        '"$@" put - photos/a <&-',
        '"$@" cp - photos/a --make-bucket <&-',
        '"$@" rm -r photos/a <&-',
        f"{GET} - >&-",
        f"{CP} - >&-",
        '"$@" ls photos >&-',
        '"$@" stat photos/a >&-',
        '"$@" du photos >&-',
        '"$@" presign photos/a >&-',
    ],
)
def test_a_closed_stream_is_one_sentence_and_nothing_is_sent(
    line: str, gateway: Gateway, tmp_path: Path
) -> None:
    server = gateway()
    done = shell(line, server, tmp_path, code=2)
    assert done.stderr.startswith(b"Standard ")
    assert len(done.stderr.splitlines()) == 1
    assert server.asked == []
