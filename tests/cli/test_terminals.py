"""What the command shows at a terminal, and what it never writes anywhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.command_process import MAIN, command_environ
from tests.support.scripted_gateway import (
    Asked,
    Reply,
    ScriptedGateway,
    content,
)

BODY = bytes(2**21)
ASKED_FOR = {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"}
"""What asks libraries for colours and cursor codes without a terminal."""
COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-8]|9[0-7])[;0-9]*m")

Gateway = Callable[..., ScriptedGateway]


def run(
    line: str, folder: Path, environ: Mapping[str, str], terminal: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `"$@"` is `amazin`; standard error may be a tty."""
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-P", "-c", MAIN],
        cwd=folder,
        env=command_environ(folder, environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal is None else terminal,
        timeout=60,
        check=True,
    )


def at_terminal(server: ScriptedGateway, folder: Path, **environ: str) -> bytes:
    """Return what a download shows at a terminal."""
    reader, writer = pty.openpty()
    try:
        environ = {"TERM": "xterm-256color", "AMAZIN_URL": server.url, **environ}
        run('"$@" get photos/a', folder, environ, writer)
        os.set_blocking(reader, False)
        return os.read(reader, 2**16)
    except BlockingIOError:
        return b""
    finally:
        os.close(writer)
        os.close(reader)


@pytest.mark.parametrize("variable", ASKED_FOR)
@pytest.mark.parametrize("line", ['"$@" get photos/a', '"$@" get photos/a - 2>&1'])
def test_without_a_terminal_there_are_no_bars_and_no_codes(
    line: str, variable: str, gateway: Gateway, tmp_path: Path
) -> None:
    environ = {variable: ASKED_FOR[variable], "TERM": "xterm-256color"}
    environ["AMAZIN_URL"] = gateway(content(BODY)).url
    done = run(line, tmp_path, environ)
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout
    assert done.stdout in (BODY, b"Fetched a, 2097152 bytes\n")


def test_tables_and_notes_have_no_codes_without_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "data" / "node-1").mkdir(parents=True)
    environ = {**ASKED_FOR, "DISCOVERY": "folders", "TERM": "xterm-256color"}
    done = run('"$@" status && "$@" repair --dry-run', tmp_path, environ)
    assert b"node-1" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_terminal_shows_a_bar_in_colours(gateway: Gateway, tmp_path: Path) -> None:
    assert COLOUR.search(at_terminal(gateway(content(BODY)), tmp_path))


def test_no_color_is_obeyed(gateway: Gateway, tmp_path: Path) -> None:
    shown = at_terminal(gateway(content(BODY)), tmp_path, NO_COLOR="1", FORCE_COLOR="1")
    assert b"\x1b" in shown
    assert not COLOUR.search(shown)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_without_cursor_codes_gets_none(
    term: str, gateway: Gateway, tmp_path: Path
) -> None:
    assert at_terminal(gateway(content(BODY)), tmp_path, TERM=term) == b""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"])
def test_what_a_shell_has_opened_is_written_and_not_replaced(
    name: str, gateway: Gateway, tmp_path: Path
) -> None:
    environ = {"AMAZIN_URL": gateway(content(BODY)).url}
    run(f'{{ echo a; "$@" get photos/a {name}; echo b; }} >> f', tmp_path, environ)
    assert (tmp_path / "f").read_bytes() == b"a\n" + BODY + b"b\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/7"])
def test_what_no_shell_has_opened_is_not_written(
    name: str, gateway: Gateway, tmp_path: Path
) -> None:
    environ = {"AMAZIN_URL": gateway().url}
    run(f'! "$@" get photos/a {name} >&- 2> err', tmp_path, environ)
    assert "Bad file descriptor" in (tmp_path / "err").read_text()


def test_what_is_closed_is_no_terminal(gateway: Gateway, tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return content(BODY)

    environ = {**ASKED_FOR, "AMAZIN_URL": gateway(answer).url}
    run('"$@" get photos/a 2>&-', tmp_path, environ)
    assert (tmp_path / "a").read_bytes() == BODY
