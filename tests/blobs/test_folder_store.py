"""A folder of blobs: ours, and those that `sos` left in it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from errno import ENOSPC
from hashlib import md5
from itertools import chain
from pathlib import Path

import pytest

from amazin.blobs.folder_store import BlobFolder, Detail, new_label
from amazin.blobs.importing import Import
from amazin.blobs.sos_folder import SosFolder
from amazin.blobs.store import BLOB_BUCKET
from amazin.cluster.cluster import Chooser
from amazin.errors import (
    BodyError,
    DifferentContentError,
    LostCopyError,
    NodeError,
    NodeFullError,
    NodeUnreachableError,
    NoSuchKeyError,
    SettingsError,
)
from amazin.model.bodies import HeldBody
from amazin.model.objects import UNKNOWN_SIZE, ObjectInfo, ObjectName
from amazin.nodes.folder.node import RECHECK_SECONDS, FolderNode
from tests.support.answers import told
from tests.support.fakes import FakeClock
from tests.support.folder_node import content, insert_copies
from tests.support.waiting import PATIENCE_SECONDS

CAT = b"a cat"
HEADERS = {"Content-Type": "image/jpeg", "X-Mime-Type": "image/jpeg", "X-Name": "Mia"}


class Stream:
    """A body of unknown length, or of a length that may be wrong."""

    def __init__(self, *pieces: bytes, length: int = UNKNOWN_SIZE) -> None:
        self.length = length
        self._pieces = pieces

    def chunks(self) -> Iterable[bytes]:
        """Yield the pieces; b"" stands for a client that is gone."""
        for piece in self._pieces:
            if not piece:
                raise BodyError("gone")
            yield piece

    def can_restart(self) -> bool:
        return False


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobFolder]:
    """A folder without any blob."""
    with closing(BlobFolder(tmp_path)) as store:
        yield store


def leave(path: Path, blob_id: str, body: bytes, headers: object = None) -> None:
    """Leave a blob as sos does."""
    (path / blob_id).write_bytes(body)
    if headers is not None:
        (path / f"{blob_id}.json").write_text(json.dumps(headers))


def read(store: BlobFolder, blob_id: str) -> bytes:
    """Return the bytes of a blob."""
    with closing(store.get(blob_id).content) as found:
        return b"".join(iter(found.read, b""))


def ids(store: BlobFolder) -> list[str]:
    """Return all ids."""
    return [blob_id for batch in store.ids() for blob_id in batch]


# Ours


@pytest.mark.parametrize(
    "body", [HeldBody(CAT), Stream(b"a ", b"cat"), Stream(CAT, length=5)]
)
def test_a_blob_comes_back_with_its_headers(store: BlobFolder, body: HeldBody) -> None:
    info = store.put("mia", body, HEADERS).info
    assert (info.size, info.etag) == (5, md5(CAT).hexdigest())
    assert read(store, "mia") == CAT
    found = store.head("mia").info
    assert (found.size, found.etag, found.headers) == (5, info.etag, HEADERS)


def test_an_empty_blob_of_unknown_length_is_a_blob(store: BlobFolder) -> None:
    assert store.put("none", Stream(), {}).info.size == 0
    assert read(store, "none") == b""


@pytest.mark.parametrize("body", [HeldBody(CAT), Stream(b"a ", b"cat")])
def test_the_same_bytes_again_change_nothing(
    store: BlobFolder, tmp_path: Path, body: HeldBody
) -> None:
    first = store.put("mia", HeldBody(CAT), HEADERS).info
    again = store.put("mia", body, {"X-Name": "another"}).info
    assert again == store.head("mia").info == first
    assert len(content(tmp_path)) == 1


@pytest.mark.parametrize(
    "body",
    [
        HeldBody(b"a dog"),
        HeldBody(b"a horse"),
        HeldBody(b""),
        Stream(b"a dog"),
        Stream(b"a cat", b" and a dog"),
        Stream(b"a "),
        Stream(),
    ],
)
def test_other_bytes_are_refused_and_change_nothing(
    store: BlobFolder, tmp_path: Path, body: HeldBody
) -> None:
    store.put("mia", HeldBody(CAT), HEADERS)
    with pytest.raises(DifferentContentError) as caught:
        store.put("mia", body, {})
    answer = told(caught.value)
    assert (answer.status, answer.code) == (409, "DifferentContent")
    assert "never change" in answer.message
    assert read(store, "mia") == CAT
    assert store.head("mia").info.headers == HEADERS
    assert len(content(tmp_path)) == 1


@pytest.mark.parametrize(
    "body", [Stream(b"a ", b""), Stream(b""), Stream(b"a ", b"", length=5)]
)
def test_an_upload_that_breaks_leaves_nothing(
    store: BlobFolder, tmp_path: Path, body: Stream
) -> None:
    with pytest.raises(BodyError):
        store.put("mia", body, {})
    with pytest.raises(NoSuchKeyError):
        store.head("mia")
    assert content(tmp_path) == []


def test_of_uploads_that_overlap_one_wins(store: BlobFolder) -> None:
    class Overtaken(Stream):
        """While it is sent another upload is faster."""

        def chunks(self) -> Iterator[bytes]:
            yield from super().chunks()
            store.put("mia", HeldBody(CAT), HEADERS)

    assert store.put("mia", Overtaken(CAT), {"X-Name": "late"}).info.size == 5
    with pytest.raises(NoSuchKeyError):
        store.head("max")

    class Other(Stream):
        """The same, of other bytes."""

        def chunks(self) -> Iterator[bytes]:
            yield from super().chunks()
            store.put("max", HeldBody(CAT), HEADERS)

    with pytest.raises(DifferentContentError):
        store.put("max", Other(b"a dog"), {})
    for blob_id in ("mia", "max"):
        assert read(store, blob_id) == CAT
        assert store.head(blob_id).info.headers == HEADERS


def test_of_many_uploads_at_once_one_wins_and_nothing_is_torn(
    store: BlobFolder, tmp_path: Path
) -> None:
    bodies = [bytes([number]) * 70_000 for number in range(16)]

    def upload(body: bytes) -> int:
        with closing(BlobFolder(tmp_path)) as other:
            try:
                other.put("one", Stream(body[:40_000], body[40_000:]), {})
            except DifferentContentError as exc:
                return told(exc).status
            return 200

    with ThreadPoolExecutor(len(bodies)) as crowd:
        results = list(crowd.map(upload, bodies))
    assert sorted(results) == [200] + [409] * 15
    assert read(store, "one") in bodies
    assert len(content(tmp_path)) == 1


def test_a_full_disk_stores_nothing(store: BlobFolder, tmp_path: Path) -> None:
    def write(file: io.FileIO, data: memoryview) -> int:
        raise OSError(ENOSPC, "full")

    with closing(FolderNode("store", tmp_path, write=write)) as store.node:
        with pytest.raises(NodeFullError):
            store.put("mia", Stream(CAT), {})
        assert content(tmp_path) == []
        with pytest.raises(NoSuchKeyError):
            store.head("mia")


def test_a_folder_that_is_gone_is_no_missing_blob(tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    with closing(BlobFolder(place)) as store:
        store.put("mia", HeldBody(CAT), {})
        place.rename(tmp_path / "elsewhere")
        with pytest.raises(NodeUnreachableError):
            store.head("mia")
        with pytest.raises(NodeUnreachableError):
            store.put("max", HeldBody(CAT), {})
        with pytest.raises(NodeError):
            list(store.ids())
        place.mkdir()
        with pytest.raises(NodeError):
            store.head("mia")


def test_the_list_is_sorted_and_read_in_batches(
    store: BlobFolder, tmp_path: Path
) -> None:
    assert list(store.ids()) == []
    for blob_id in ("b", "a1", "0", "a", "z"):
        store.put(blob_id, HeldBody(blob_id.encode()), {})
    many = add_copies(tmp_path, "b", 9000)
    batches = list(store.ids())
    assert len(batches) > 2
    assert list(chain(*batches)) == ["0", "a", "a1", "b", *many, "z"]
    assert list(store.details())[1] == Detail("a", 1, md5(b"a").hexdigest())


def add_copies(path: Path, blob_id: str, count: int) -> list[str]:
    """Let many ids have the bytes of one; returns them, which are right behind it."""
    many = [f"{blob_id}{number:05}" for number in range(count)]
    insert_copies(path, ObjectName(BLOB_BUCKET, blob_id), many)
    return many


# What sos left


def test_what_sos_left_is_served_in_place(store: BlobFolder, tmp_path: Path) -> None:
    leave(tmp_path, "mia", CAT, {"X-Mime-Type": "image/jpeg", "x-lower": "a"})
    leave(tmp_path, "plain", b"")
    info = store.head("mia").info
    assert info.size == 5
    assert info.headers == {"X-Mime-Type": "image/jpeg", "X-Lower": "a"}
    assert info.modified_ns == (tmp_path / "mia").stat().st_mtime_ns
    assert read(store, "mia") == CAT
    assert read(store, "plain") == b""
    part = store.get("mia", lambda info: (2, 4)).content
    assert part.read() == b"cat"
    part.close()
    assert ids(store) == ["mia", "plain"]
    assert content(tmp_path) == []


def test_what_sos_left_counts_when_it_is_uploaded_again(
    store: BlobFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "mia", CAT, {"X-Name": "Mia"})
    assert store.put("mia", Stream(b"a ", b"cat"), {"X-Name": "Max"}).info.size == 5
    for other in (b"a dog", b"a horse"):
        with pytest.raises(DifferentContentError):
            store.put("mia", Stream(other), {})
    assert (tmp_path / "mia").read_bytes() == CAT
    assert store.head("mia").info.headers == {"X-Name": "Mia"}
    assert content(tmp_path) == []


def test_lists_are_merged_in_order_and_each_blob_is_in_them_once(
    store: BlobFolder, tmp_path: Path
) -> None:
    for blob_id in ("b", "d", "f"):
        store.put(blob_id, HeldBody(CAT), {})
    ours = {"b", "d", "f", *add_copies(tmp_path, "d", 5000)}
    old = {"a", "b", "c", "e", "g", *(f"d{number:05}a" for number in range(600))}
    for blob_id in old:
        leave(tmp_path, blob_id, b"old", {})
    assert ids(store) == sorted(ours | old)
    etag = md5(CAT).hexdigest()
    assert list(store.details()) == [
        Detail(name, 5, etag) if name in ours else Detail(name, 3, "")
        for name in sorted(ours | old)
    ]


def test_what_is_imported_while_it_is_listed_is_in_the_list(
    store: BlobFolder, tmp_path: Path
) -> None:
    for blob_id in "abc":
        leave(tmp_path, blob_id, CAT)
    details = store.details()
    assert next(details) == Detail("a", 5, "")
    name = ObjectName(BLOB_BUCKET, "b")
    store.node.adopt(name, tmp_path / "b", new_label(1), {})
    store.old.remove("b")
    assert [detail.blob_id for detail in details] == ["b", "c"]


def test_headers_are_never_missed_while_a_blob_is_imported(
    store: BlobFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "mia", CAT, {"X-Name": "Mia"})

    class Imported(SosFolder):
        """A blob is imported when its headers are read, and its file is not yet."""

        def file_of(self, blob_id: str) -> Path:
            path = super().file_of(blob_id)
            if path.exists():
                headers = self.headers(blob_id)
                name = ObjectName(BLOB_BUCKET, blob_id)
                store.node.adopt(name, path, new_label(1), headers)
                SosFolder(self.path).remove(blob_id)
            return path

    store.old = Imported(tmp_path)
    assert store.head("mia").info.headers == {"X-Name": "Mia"}
    assert store.head("mia").info.etag


def test_blobs_are_there_at_every_moment_of_an_import(
    store: BlobFolder, tmp_path: Path
) -> None:
    names = [f"blob{number:03}" for number in range(60)]
    for name in names:
        leave(tmp_path, name, name.encode(), {"X-Name": name})
    work = Import(store)
    importing = threading.Thread(target=lambda: work.run(names, lambda: None))
    importing.start()
    while importing.is_alive():
        assert ids(store) == names
        for name in names:
            assert store.head(name).info.headers == {"X-Name": name}
            assert read(store, name) == name.encode()
            assert store.put(name, HeldBody(name.encode()), {}).info.size == 7
    importing.join(PATIENCE_SECONDS)
    assert work.report.imported == 60


@pytest.mark.parametrize("blob_id", ["link", "folder", "pipe", "nothing"])
def test_what_is_no_plain_file_is_no_blob(
    store: BlobFolder, tmp_path: Path, blob_id: str
) -> None:
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "UPPER").write_bytes(CAT)
    (tmp_path / ".hidden").write_bytes(CAT)
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / ("a" * 200)).write_bytes(CAT)
    assert ids(store) == ["a" * 200]
    with pytest.raises(NoSuchKeyError):
        store.head(blob_id)
    with pytest.raises(NoSuchKeyError):
        store.get(blob_id)
    store.put(blob_id, HeldBody(CAT), {})
    assert read(store, blob_id) == CAT


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '"a"', '{"X-A": 1}', "\udc80", "[" * 5000, " " * 70_000]
)
def test_broken_headers_are_none_and_are_logged_once(
    store: BlobFolder, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, "mia", CAT)
    (tmp_path / "mia.json").write_bytes(text.encode(errors="surrogateescape"))
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        assert store.head("mia").info.headers == {}
        assert read(store, "mia") == CAT
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "mia" in caplog.text


def test_headers_that_are_a_pipe_do_not_hang(store: BlobFolder, tmp_path: Path) -> None:
    leave(tmp_path, "mia", CAT)
    os.mkfifo(tmp_path / "mia.json")
    assert store.head("mia").info.headers == {}


def test_a_long_id_has_no_headers(store: BlobFolder, tmp_path: Path) -> None:
    leave(tmp_path, "a" * 255, CAT)
    assert store.head("a" * 255).info.headers == {}
    store.old.remove("a" * 255)
    assert ids(store) == []


def test_headers_are_characters_of_their_bytes(
    store: BlobFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "mia", CAT, {"X-Name": "M\u00efa", "Other": "left out"})
    assert store.head("mia").info.headers == {"X-Name": "M\u00c3\u00afa"}


def test_what_can_not_be_opened_is_no_missing_blob(
    store: BlobFolder, tmp_path: Path
) -> None:
    class Found(SosFolder):
        """What is found there is none that can be opened."""

        def find(self, blob_id: str) -> ObjectInfo:
            return ObjectInfo(5, "", 1, None, {})

    (tmp_path / "mia").mkdir()
    store.old = Found(tmp_path)
    with pytest.raises(NodeError):
        store.get("mia")


def test_what_fails_to_be_read_is_no_missing_blob(
    store: BlobFolder, tmp_path: Path
) -> None:
    (tmp_path / "mia").symlink_to("mia")
    for act in (store.head, store.get, lambda _: list(store.ids())):
        with pytest.raises(NodeError, match="ELOOP"):
            act("mia")


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_a_blob_where_our_folder_must_be_is_named(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "content"
    if kind == "file":
        place.write_bytes(CAT)
    else:
        place.symlink_to("/etc/hostname" if kind == "link" else "/nothing")
    with pytest.raises(SettingsError, match=r"/content: the blob `content` of sos"):
        BlobFolder(tmp_path)


def test_a_blob_of_ours_may_have_that_id(store: BlobFolder) -> None:
    store.put("content", HeldBody(CAT), {})
    assert read(store, "content") == CAT
    assert ids(store) == ["content"]


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"something else" * 1000)
    with pytest.raises(SettingsError, match="can't be used"):
        BlobFolder(tmp_path)


def test_the_store_is_one_of_blobs(store: BlobFolder) -> None:
    headers: Mapping[str, str] = {}
    assert store.put("mia", HeldBody(CAT), headers).member.name == "store"


def test_the_part_of_a_blob_that_sos_left_is_stored_anew(
    store: BlobFolder, tmp_path: Path
) -> None:
    blob_id = hashlib.sha1(b"a cat", usedforsecurity=False).hexdigest()
    leave(tmp_path, blob_id, b"a c")
    store.put(blob_id, HeldBody(b"a cat"), {})
    assert read(store, blob_id) == b"a cat"
    assert ids(store) == [blob_id]


def test_a_link_to_a_blob_is_one(store: BlobFolder, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "mia"
    other.parent.mkdir()
    other.write_bytes(b"a cat")
    (tmp_path / "tom").symlink_to(other)
    assert read(store, "tom") == b"a cat"
    assert ids(store) == ["tom"]


# Blobs that are damaged or gone


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def break_content(folder: Path, way: str) -> None:
    [path] = content(folder)
    path.unlink() if way == "gone" else flip(path)


def require_lost(store: BlobFolder, blob_id: str) -> None:
    for _ in range(2):
        with pytest.raises(LostCopyError):
            read(store, blob_id)
        with pytest.raises(LostCopyError):
            store.head(blob_id)
    assert list(chain(*store.ids())) == []
    assert list(store.details()) == []


@pytest.mark.parametrize("way", ["damaged", "gone"])
def test_a_lost_blob_is_lost_for_get_head_and_lists(
    store: BlobFolder, tmp_path: Path, way: str
) -> None:
    store.put("mia", HeldBody(CAT), HEADERS)
    break_content(tmp_path, way)
    require_lost(store, "mia")


@pytest.mark.parametrize("way", ["damaged", "gone"])
def test_a_lost_blob_can_be_uploaded_again_with_the_same_bytes_only(
    store: BlobFolder, tmp_path: Path, way: str
) -> None:
    store.put("mia", HeldBody(CAT), HEADERS)
    break_content(tmp_path, way)
    with pytest.raises(LostCopyError):
        read(store, "mia")
    for other in (b"a dog", b"a", b"a longer cat"):
        for body in (HeldBody(other), Stream(other)):
            with pytest.raises(DifferentContentError):
                store.put("mia", body, {})
    with pytest.raises(LostCopyError):
        read(store, "mia")
    assert store.put("mia", Stream(b"a ", b"cat"), {}).info.headers == HEADERS
    assert read(store, "mia") == CAT
    assert list(chain(*store.ids())) == ["mia"]


@pytest.mark.parametrize("choose", [None, lambda info: (0, 1)])
def test_what_sos_left_is_verified_where_its_id_is_a_sha1(
    store: BlobFolder, tmp_path: Path, choose: object
) -> None:
    blob_id = hashlib.sha1(CAT).hexdigest()
    leave(tmp_path, blob_id, CAT)
    wanted = CAT[:2] if choose else CAT
    with closing(store.get(blob_id, choose).content) as found:
        assert b"".join(iter(found.read, b"")) == wanted
    assert not store.head(blob_id).info.is_damaged
    flip(tmp_path / blob_id)
    os.utime(tmp_path / blob_id, (5, 5))
    with pytest.raises(LostCopyError):
        store.get(blob_id, choose)
    with pytest.raises(LostCopyError):
        store.head(blob_id)
    store.put(blob_id, HeldBody(CAT), HEADERS)
    assert read(store, blob_id) == CAT


@pytest.mark.parametrize("choose", [None, lambda info: None])
def test_the_beginning_of_what_sos_left_is_never_all_of_it(
    tmp_path: Path, choose: Chooser | None
) -> None:
    blob_id = hashlib.sha1(CAT).hexdigest()
    for size in range(len(CAT)):
        with closing(BlobFolder(tmp_path)) as store:
            leave(tmp_path, blob_id, CAT[:size])
            with pytest.raises(LostCopyError):
                store.get(blob_id, choose)


def test_an_empty_blob_of_sos_is_whole(store: BlobFolder, tmp_path: Path) -> None:
    blob_id = hashlib.sha1(b"").hexdigest()
    leave(tmp_path, blob_id, b"")
    for _ in range(2):
        assert read(store, blob_id) == b""


@pytest.mark.parametrize("body", [b"a dog", b"a c", b"", CAT])
def test_a_link_is_verified_like_a_file(
    store: BlobFolder, tmp_path: Path, body: bytes
) -> None:
    blob_id = hashlib.sha1(CAT).hexdigest()
    (tmp_path / "elsewhere").mkdir()
    leave(tmp_path / "elsewhere", "it", body)
    (tmp_path / blob_id).symlink_to(tmp_path / "elsewhere" / "it")
    for choose in (None, lambda info: (0, 0), lambda info: None):
        with pytest.raises(LostCopyError) if body != CAT else nullcontext():
            store.get(blob_id, choose).content.close()


def test_what_sos_left_is_verified_in_blocks_once_it_was_read(
    store: BlobFolder, tmp_path: Path
) -> None:
    blob_id = hashlib.sha1(CAT).hexdigest()
    path = tmp_path / blob_id
    leave(tmp_path, blob_id, CAT)
    assert read(store, blob_id) == CAT
    before = path.stat().st_mtime_ns
    flip(path)
    os.utime(path, ns=(before, before))
    with pytest.raises(LostCopyError):
        read(store, blob_id)


@pytest.mark.parametrize("choose", [None, lambda info: (0, 1)])
@pytest.mark.parametrize("is_old", [False, True])
def test_a_lost_blob_that_is_whole_again_is_found_after_a_while(
    tmp_path: Path, choose: Chooser | None, is_old: bool
) -> None:
    clock, blob_id = FakeClock(), hashlib.sha1(CAT).hexdigest()
    with closing(BlobFolder(tmp_path, clock)) as store:
        if is_old:
            leave(tmp_path, blob_id, CAT)
        else:
            store.put(blob_id, HeldBody(CAT), {})
        path = tmp_path / blob_id if is_old else content(tmp_path)[0]
        before = path.stat().st_mtime_ns
        flip(path)
        os.utime(path, ns=(before, before))
        with pytest.raises(LostCopyError):
            read(store, blob_id)
        path.write_bytes(CAT)
        os.utime(path, ns=(before, before))
        clock.now += RECHECK_SECONDS - 1
        with pytest.raises(LostCopyError):
            store.get(blob_id, choose)
        with pytest.raises(LostCopyError):
            store.head(blob_id)
        clock.now += 2
        if choose:
            store.get(blob_id, choose).content.close()
        assert not store.head(blob_id).info.is_damaged
        assert read(store, blob_id) == CAT


def test_large_blobs_of_sos_are_verified_once(
    store: BlobFolder, tmp_path: Path
) -> None:
    body = CAT * 100_000
    blob_id = hashlib.sha1(body).hexdigest()
    leave(tmp_path, blob_id, body)
    assert read(store, blob_id) == body
    before = (tmp_path / blob_id).stat().st_mtime_ns
    with (tmp_path / blob_id).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    os.utime(tmp_path / blob_id, ns=(before, before))
    with closing(store.get(blob_id, lambda info: (0, 2)).content) as found:
        assert found.read() == CAT[:3]  # by what is remembered
    with pytest.raises(LostCopyError):
        read(store, blob_id)


def test_a_blob_of_sos_is_not_removed_while_the_stored_copy_is_damaged(
    store: BlobFolder, tmp_path: Path
) -> None:
    store.put("mia", HeldBody(CAT), HEADERS)
    flip(content(tmp_path)[0])
    leave(tmp_path, "mia", CAT)
    report = Import(store).run(["mia"], lambda: None)
    assert list(report.failures) == ["mia"]
    assert (tmp_path / "mia").read_bytes() == CAT
