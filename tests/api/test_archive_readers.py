"""Archives as people open them: with each program that this machine has.

Programs that read a stream get one. busybox finds the end of a large file only in the
directory, so it reads those from a file.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from stream_unzip import stream_unzip

from amazin.api import buckets
from amazin.api.archive_names import Names
from amazin.model.objects import CHUNK_BYTES
from gateway import Gateway
from tests.support.app import call, make_app
from tests.support.paths import PROJECT

PATIENCE_SECONDS = 50.0
PATTERN = bytes(range(251))
SMALL = {
    "empty": b"",
    "one": b"1",
    "folder/a.txt": b"text",
    "folder/\u00e9/\U0001f600.txt": b"names beyond ASCII",
    "../../outside": b"inside",
    "file": b"a file, and",
    "file/too": b"a folder",
    "x" * 256: b"a name that no file system takes",
    "y" * 700 + "/" + "\u00e9" * 150 + ".txt": b"two of those",
    "piece": PATTERN * (CHUNK_BYTES // 251),
}
LARGE = {
    "large/1": bytes(CHUNK_BYTES + 1),
    "large/2": PATTERN * 5000,
    "large/3": PATTERN * 5221,  # ends with a block
    "last": b"behind large ones",
}


def archive(objects: Mapping[str, bytes]) -> bytes:
    """Return what a gateway makes of these objects."""
    app: Gateway = make_app(routes=buckets.ROUTES)
    assert call(app, "POST", "/buckets/photos").status == 201
    for key, body in objects.items():
        assert call(app, "PUT", f"/objects/photos/{quote(key)}", body).status == 201
    return call(app, "GET", "/archive/photos").body


def named(objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return these objects by their names in an archive."""
    names = Names()
    return {names.name(key): objects[key] for key in sorted(objects, key=str.encode)}


@pytest.fixture(scope="module")
def small() -> bytes:
    """An archive of small objects."""
    return archive(SMALL)


@pytest.fixture(scope="module")
def mixed() -> bytes:
    """An archive of all."""
    return archive(SMALL | LARGE)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(folder: Path, *command: str, data: bytes | None = None) -> bytes:
    """Run a program in a folder, `data` in its input; return what it prints."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"no {command[0]}")
    with_input = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    return subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        check=True,
        stdout=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
        **with_input,  # type: ignore[call-overload]
    ).stdout


@pytest.mark.parametrize(
    "command",
    ["unzip -q", "7z x -y", "bsdtar -xf", "busybox unzip -q", "python3 -m zipfile -e"],
)
def test_programs_that_open_files(mixed: bytes, tmp_path: Path, command: str) -> None:
    file, folder = tmp_path / "photos.zip", tmp_path / "opened"
    file.write_bytes(mixed)
    folder.mkdir()
    rest = ["."] if "python3" in command else []
    run(folder, *command.split(), str(file), *rest)
    assert files_in(folder) == named(SMALL | LARGE)


def test_bsdtar_reads_a_stream(mixed: bytes, tmp_path: Path) -> None:
    run(tmp_path, "bsdtar", "-xf", "-", data=mixed)
    assert files_in(tmp_path) == named(SMALL | LARGE)


def test_busybox_reads_a_stream_of_small_objects(small: bytes, tmp_path: Path) -> None:
    run(tmp_path, "busybox", "unzip", "-q", "-", data=small)
    assert files_in(tmp_path) == named(SMALL)


def test_java_reads_a_stream(mixed: bytes, tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("no javac")  # without it java runs no source
    source = PROJECT / "tests" / "support" / "ZipReader.java"
    printed = run(tmp_path, "java", str(source), data=mixed)
    lines = [line.split("\t") for line in printed.decode().splitlines()]
    assert {name: (int(size), int(crc)) for name, size, crc in lines} == {
        name: (len(body), zlib.crc32(body))
        for name, body in named(SMALL | LARGE).items()
    }


def test_stream_unzip_reads_a_stream(mixed: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(mixed), 10_000):
            yield mixed[at : at + 10_000]

    found = {
        name.decode(): (size, b"".join(chunks))
        for name, size, chunks in stream_unzip(pieces())
    }
    assert {name: body for name, (_, body) in found.items()} == named(SMALL | LARGE)
    for name in named(SMALL):
        assert found[name][0] is not None  # its size is known before its bytes


def test_the_directory_says_what_the_stream_does(mixed: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(mixed)) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == named(
            SMALL | LARGE
        )
