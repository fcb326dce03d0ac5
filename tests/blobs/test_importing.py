"""Taking over what `sos` left: nothing is lost, whenever it is stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from errno import ENOSPC
from hashlib import md5, sha1
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner, Result

from amazin.blobs.folder_store import BlobFolder
from amazin.blobs.importing import Import
from amazin.blobs.sos_folder import SosFolder
from amazin.cli.common import FailureError
from amazin.cli.import_blobs import run_import
from amazin.cli.main import main
from amazin.errors import NodeError
from amazin.model.bodies import HeldBody
from amazin.nodes.folder.node import FolderNode
from tests.support.paths import PROJECT
from tests.support.waiting import PATIENCE_SECONDS, await_that

HEADERS = {"X-Name": "Mia"}


@pytest.fixture
def opened() -> Iterator[Callable[[Path], BlobFolder]]:
    """A function that opens a folder of blobs, which is closed at the end."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(closing(BlobFolder(path)))


@pytest.fixture
def store(tmp_path: Path, opened: Callable[[Path], BlobFolder]) -> BlobFolder:
    """The blobs in the test's folder."""
    return opened(tmp_path)


def run(arguments: list[str]) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["import-blobs", *arguments])


def leave(path: Path, blob_id: str, body: bytes, headers: object = None) -> None:
    """Leave a blob as sos does."""
    path.mkdir(exist_ok=True)
    (path / blob_id).write_bytes(body)
    if headers is not None:
        (path / f"{blob_id}.json").write_text(json.dumps(headers))


def imported(store: BlobFolder, source: Path | None = None) -> Import:
    """Import everything."""
    work = Import(store, source)
    work.run(work.ids(), lambda: None)
    return work


def read(store: BlobFolder, blob_id: str) -> bytes:
    """Return the bytes of a blob of ours."""
    with closing(store.get(blob_id).content) as content:
        return b"".join(iter(content.read, b""))


def old_files(path: Path) -> list[str]:
    """Return the names of what sos left."""
    return sorted(
        file.name
        for file in path.iterdir()
        if "index" not in file.name and file.is_file()
    )


def test_blobs_of_the_store_are_moved_without_their_bytes(
    store: BlobFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "mia", b"a cat", HEADERS)
    leave(tmp_path, "none", b"")
    inode = (tmp_path / "mia").stat().st_ino
    os.utime(tmp_path / "mia", ns=(1, 10**18))
    report = imported(store).report
    assert (report.imported, report.bytes, report.failures) == (2, 5, {})
    assert old_files(tmp_path) == []
    info = store.head("mia").info
    assert (info.size, info.etag) == (5, md5(b"a cat").hexdigest())
    assert info.headers == HEADERS
    assert info.modified_ns == 10**18
    assert read(store, "mia") == b"a cat"
    assert read(store, "none") == b""
    files = {file.stat().st_ino for file in (tmp_path / "content").glob("*/*")}
    assert inode in files


def test_blobs_of_another_folder_are_copied_and_stay(
    opened: Callable[[Path], BlobFolder], tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    store = opened(tmp_path / "store")
    leave(tmp_path / "old", "mia", b"a cat", HEADERS)
    for number in range(2):
        report = imported(store, tmp_path / "old").report
        assert (report.imported, report.already) == (1 - number, number)
    assert old_files(tmp_path / "old") == ["mia", "mia.json"]
    (tmp_path / "old" / "mia").write_bytes(b"a dog")  # sos writes in place
    assert read(store, "mia") == b"a cat"
    report = imported(store, tmp_path / "old").report
    assert list(report.failures) == ["mia"]
    assert read(store, "mia") == b"a cat"


def test_a_blob_with_other_bytes_stays_where_it_is(
    store: BlobFolder, tmp_path: Path
) -> None:
    store.put("mia", HeldBody(b"a cat"), {})
    store.put("max", HeldBody(b"a dog"), HEADERS)
    leave(tmp_path, "mia", b"a dog")
    leave(tmp_path, "max", b"a dog", {"X-Name": "Max"})
    report = imported(store).report
    assert list(report.failures) == ["mia"]
    assert "never change" in report.failures["mia"]
    assert report.already == 1
    assert old_files(tmp_path) == ["mia"]
    assert store.head("max").info.headers == HEADERS


def test_broken_headers_keep_a_blob_where_it_is(
    store: BlobFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "mia", b"a cat")
    (tmp_path / "mia.json").write_text("{")
    assert "no JSON" in imported(store).report.failures["mia"]
    assert old_files(tmp_path) == ["mia", "mia.json"]


def test_a_file_with_another_name_is_copied(
    opened: Callable[[Path], BlobFolder], tmp_path: Path
) -> None:
    store = opened(tmp_path / ".")
    leave(tmp_path, "mia", b"a cat")
    (tmp_path / "Backup").hardlink_to(tmp_path / "mia")
    assert imported(store).report.imported == 1
    (tmp_path / "Backup").write_bytes(b"a dog")
    assert read(store, "mia") == b"a cat"


def test_where_there_are_no_hard_links_blobs_are_copied(
    store: BlobFolder, tmp_path: Path
) -> None:
    class Linkless(FolderNode):
        """A node on a file system without links."""

        def adopt(self, *_: object) -> NoReturn:
            raise NodeError("the folder failed: EPERM")

    leave(tmp_path, "mia", b"a cat")
    with closing(Linkless("store", tmp_path)) as store.node:
        assert imported(store).report.imported == 1
        assert old_files(tmp_path) == []
        assert read(store, "mia") == b"a cat"


def test_headers_left_by_a_stopped_import_are_removed(
    store: BlobFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "mia", b"a cat", HEADERS)
    imported(store)
    for name in ("mia", "max"):
        (tmp_path / f"{name}.json").write_text("{}")
    imported(store)
    assert old_files(tmp_path) == ["max.json"]


def test_two_imports_at_once_lose_nothing(
    store: BlobFolder, opened: Callable[[Path], BlobFolder], tmp_path: Path
) -> None:
    names = [f"blob{number:03}" for number in range(60)]
    for name in names:
        leave(tmp_path, name, name.encode(), HEADERS)
    works = [Import(opened(tmp_path)) for _ in range(3)]
    with ThreadPoolExecutor(len(works)) as crowd:
        list(crowd.map(lambda work: work.run(names, lambda: None), works))
    assert [work.report.failures for work in works] == [{}, {}, {}]
    assert sum(work.report.imported for work in works) == 60
    for name in names:
        assert read(store, name) == name.encode()
        assert store.head(name).info.headers == HEADERS
    assert old_files(tmp_path) == []


def test_a_full_disk_ends_it_and_loses_nothing(
    store: BlobFolder, tmp_path: Path
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(ENOSPC, "full")

    leave(tmp_path, "mia", b"a cat")
    (tmp_path / "Backup").hardlink_to(tmp_path / "mia")  # so it is copied
    with closing(FolderNode("store", tmp_path, write=refuse)) as store.node:
        with pytest.raises(FailureError, match="full"):
            run_import(store, None)
        assert old_files(tmp_path) == ["Backup", "mia"]


def test_what_is_stopped_before_the_commit_is_begun_again(
    store: BlobFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "mia", b"a cat", HEADERS)
    (tmp_path / "content" / "ab").mkdir()
    (tmp_path / "content" / "ab" / ("ab" * 16)).hardlink_to(tmp_path / "mia")
    assert read(store, "mia") == b"a cat"
    report = imported(store).report
    assert (report.imported, report.already) == (1, 0)
    assert old_files(tmp_path) == []
    assert store.head("mia").info.headers == HEADERS


def test_what_is_stopped_after_the_commit_is_begun_again(
    store: BlobFolder, tmp_path: Path
) -> None:
    class StoppedError(BaseException):
        """Stands for a power cut."""

    class Old(SosFolder):
        """What is stored elsewhere is not removed any more."""

        def remove(self, blob_id: str) -> NoReturn:
            raise StoppedError

    leave(tmp_path, "mia", b"a cat", HEADERS)
    store.old, old = Old(tmp_path), store.old
    with pytest.raises(StoppedError):
        imported(store)
    store.old = old
    assert read(store, "mia") == b"a cat"
    report = imported(store).report
    assert (report.imported, report.already) == (0, 1)
    assert old_files(tmp_path) == []
    assert store.head("mia").info.headers == HEADERS


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_what_is_killed_is_begun_again(
    opened: Callable[[Path], BlobFolder], tmp_path: Path, kills: int
) -> None:
    place, count = tmp_path / "store", 100 + 50 * kills
    for number in range(count):
        headers = {"X-Number": str(number)}
        leave(place, f"blob{number:04}", b"%d" % number * 100, headers)
    command = [sys.executable, "-m", "amazin.cli", "import-blobs", "-store", str(place)]
    for _ in range(kills):
        process = subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        left = len(old_files(place))
        try:
            await_that(lambda left=left: len(old_files(place)) < left - 40)
        finally:
            process.kill()
            process.wait(PATIENCE_SECONDS)
    done = subprocess.run(
        [*command, "--json"], cwd=PROJECT, capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout)["failures"] == {}
    assert old_files(place) == []
    blobs = opened(place)
    for number in range(count):
        assert read(blobs, f"blob{number:04}") == b"%d" % number * 100
        assert blobs.head(f"blob{number:04}").info.headers == {"X-Number": str(number)}


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    leave(tmp_path, "mia", b"a cat")
    result = run(["--store", str(tmp_path)])
    assert (result.exit_code, result.output) == (
        0,
        "Imported 1 blobs (5 bytes); 0 were stored already.\n",
    )
    leave(tmp_path, "mia", b"a dog")
    result = run([f"-store={tmp_path}", "--json"])
    assert result.exit_code == 1
    assert '"mia": "Something else' in result.output
    assert "1 blobs were left where they are." in result.output


def test_its_own_folder_as_the_source_means_moving(tmp_path: Path) -> None:
    leave(tmp_path, "mia", b"a cat")
    store, source = str(tmp_path), f"{tmp_path}/../{tmp_path.name}"
    assert run(["-store", store, source]).exit_code == 0
    assert old_files(tmp_path) == []


def test_a_folder_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    result = run(["-store", missing])
    assert (result.exit_code, result.output) == (
        2,
        f"-store: there is no folder {missing}\n",
    )
    result = CliRunner().invoke(
        main, ["import-blobs", "-store", str(tmp_path), missing]
    )
    assert result.exit_code == 2


def test_the_part_of_a_blob_is_not_imported(tmp_path: Path) -> None:
    blob_id = "0" * 40
    leave(tmp_path, blob_id, b"a c")
    result = run(["-store", str(tmp_path)])
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert (tmp_path / blob_id).read_bytes() == b"a c"


def test_a_damaged_blob_goes_once_a_whole_copy_is_stored(
    store: BlobFolder, tmp_path: Path
) -> None:
    blob_id = sha1(b"a cat").hexdigest()
    leave(tmp_path, blob_id, b"a c", HEADERS)
    assert run(["-store", str(tmp_path)]).exit_code == 1
    store.put(blob_id, HeldBody(b"a cat"), {})
    report = imported(store).report
    assert (report.imported, report.already, report.failures) == (0, 1, {})
    assert old_files(tmp_path) == []
    assert read(store, blob_id) == b"a cat"
    assert run(["-store", str(tmp_path)]).exit_code == 0


def test_a_damaged_blob_stays_where_what_is_stored_is_wrong_too(
    store: BlobFolder, tmp_path: Path
) -> None:
    """A blob server takes any bytes under any id."""
    blob_id = sha1(b"a cat").hexdigest()
    store.put(blob_id, HeldBody(b"a dog"), {})
    leave(tmp_path, blob_id, b"a c", HEADERS)
    report = imported(store).report
    assert report.already == 0
    assert "other wrong bytes are stored" in report.failures[blob_id]
    assert old_files(tmp_path) == [blob_id, f"{blob_id}.json"]
    assert (tmp_path / blob_id).read_bytes() == b"a c"


def test_a_whole_blob_stays_where_what_is_stored_is_wrong(
    store: BlobFolder, tmp_path: Path
) -> None:
    blob_id = sha1(b"a cat").hexdigest()
    store.put(blob_id, HeldBody(b"a dog"), {})
    leave(tmp_path, blob_id, b"a cat")
    assert "never change" in imported(store).report.failures[blob_id]
    assert old_files(tmp_path) == [blob_id]


def test_a_damaged_blob_of_another_folder_stays_there(
    opened: Callable[[Path], BlobFolder], tmp_path: Path
) -> None:
    blob_id = sha1(b"a cat").hexdigest()
    (tmp_path / "store").mkdir()
    store = opened(tmp_path / "store")
    store.put(blob_id, HeldBody(b"a cat"), {})
    leave(tmp_path / "old", blob_id, b"a c")
    report = imported(store, tmp_path / "old").report
    assert report.already == 0
    assert report.failures == {blob_id: "it is damaged; a whole copy is stored"}
    assert old_files(tmp_path / "old") == [blob_id]
    assert read(store, blob_id) == b"a cat"
