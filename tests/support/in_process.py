"""The `amazin` command within the process of a test, before a scripted gateway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from amazin.cli.main import main
from tests.support.scripted_gateway import Reply, ScriptedGateway, etag_of, reply


def invoke(
    *arguments: str,
    data: bytes = b"",
    sleep: Callable[[float], object] = lambda seconds: None,
) -> Result:
    """Run a command, which never pauses."""
    return CliRunner().invoke(main, arguments, input=data, obj=sleep)


def run(
    gateway: ScriptedGateway, *arguments: str, code: int = 0, data: bytes = b""
) -> Result:
    """Run a command, which ends with this exit code and no stack trace."""
    result = invoke(*arguments, "--url", gateway.url, data=data)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def files(folder: Path) -> dict[str, bytes]:
    """Return all that lies in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def described(body: bytes, *headers: str) -> Reply:
    """Return the answer to a HEAD of an object."""
    fields = [f'ETag: "{etag_of(body)}"', f"Content-Length: {len(body)}", *headers]
    return reply(200, headers=fields)
