"""What `get` and `cp` promise on file systems and targets that can't do everything."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amazin.client.partial import partial_name
from tests.support.in_process import files, run
from tests.support.scripted_gateway import (
    ScriptedGateway,
    content,
    etag_of,
    info,
    json_reply,
    store,
)

BODY = b"the bytes of an object"
Gateway = Callable[..., ScriptedGateway]

pytestmark = pytest.mark.usefixtures("place")


def refusing(number: int) -> Callable[..., None]:
    """Return a system call that always fails."""

    def call(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


def partial(target: str) -> str:
    return partial_name(target, etag_of(BODY))


LACKING = ["ENOSYS", "ENOLCK", "ENOTSUP"]


@pytest.mark.parametrize("name", LACKING)
def test_locks_modes_and_flushes_are_used_where_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch, place: Path, gateway: Gateway
) -> None:
    call = refusing(getattr(errno, name))
    monkeypatch.setattr(fcntl, "flock", call)
    monkeypatch.setattr(os, "fchmod", call)
    monkeypatch.setattr(os, "fsync", call)
    (place / partial("a")).write_bytes(BODY[:5])
    (place / partial_name("a", "0" * 32)).write_bytes(b"older")
    run(gateway(content(BODY), content(BODY, 5)), "get", "photos/a")
    assert files(place) == {"a": BODY}


def test_a_disk_that_can_not_be_locked_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, place: Path, gateway: Gateway
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO))
    found = run(gateway(content(BODY)), "get", "photos/a", code=1)
    assert found.stderr == "a: Input/output error\n"
    assert files(place) == {}
    links = Path("/proc/self/fd").iterdir()
    assert not any("amazin-part" in os.path.realpath(link) for link in links)


def test_what_can_not_be_flushed_is_no_file(
    monkeypatch: pytest.MonkeyPatch, place: Path, gateway: Gateway
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    run(gateway(content(BODY)), "get", "photos/a", code=1)
    assert "a" not in files(place)


def is_mounted(source: Path, target: Path) -> bool:
    """Mount a file over another one, if this user may."""
    words = ["mount", "--bind", str(source), str(target)]
    return not subprocess.run(words, capture_output=True, timeout=20).returncode


def test_a_mounted_file_is_not_replaced_and_nothing_is_left(
    place: Path, gateway: Gateway
) -> None:
    (place / "mounted").mkdir()
    source, target = place / "source", place / "mounted" / "a"
    source.write_bytes(b"old")
    target.touch()
    if not is_mounted(source, target):
        pytest.skip("mounting a file needs root")
    try:
        found = run(gateway(content(BODY)), "get", "photos/a", str(target), code=1)
        assert "can't be replaced: Device or resource busy" in found.stderr
        assert "get KEY - > FILE" in found.stderr
        assert files(target.parent) == {"a": b"old"}
    finally:
        subprocess.run(["umount", str(target)], timeout=20, check=True)


def test_names_with_a_backslash_make_the_round_trip(
    place: Path, gateway: Gateway
) -> None:
    name = r"dev-disk-by\x2duuid.device"
    (place / "units").mkdir()
    (place / "units" / name).write_bytes(BODY)
    server = gateway(json_reply([]), store)
    run(server, "cp", "-r", "units", "photos/u")
    assert server.lines[1] == r"PUT /objects/photos/u/dev-disk-by%5Cx2duuid.device"
    page = json_reply([info(f"u/{name}", BODY)])
    run(gateway(page, content(BODY)), "cp", "-r", "photos/u", "./back")
    assert files(place / "back") == {name: BODY}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["get", "photos/a", "nowhere/b"], "nowhere/b: No such file or directory\n"),
        (["get", "photos/a", "/dev/full"], "/dev/full: No space left on device\n"),
        (["cp", "photos/a", "./nowhere/b"], "./nowhere/b: No such file"),
        (["cp", "-r", "photos", "/proc/nowhere/t"], "/proc/nowhere/t: No such file"),
    ],
)
def test_errors_of_this_machine_name_what_is_on_it(
    words: list[str], says: str, gateway: Gateway
) -> None:
    answers = [] if "-r" in words else [content(BODY)]
    assert run(gateway(*answers), *words, code=1).stderr.startswith(says)


def test_a_file_that_can_not_be_read_is_named(place: Path, gateway: Gateway) -> None:
    words = ["put", "/proc/self/mem", "photos/a"]
    found = run(gateway(), *words, code=1)
    assert found.stderr == "/proc/self/mem: It can't be read: Input/output error\n"
