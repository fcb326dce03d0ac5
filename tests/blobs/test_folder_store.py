"""A folder of blobs: ours, and those that `sos` left in it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from errno import ENOSPC
from hashlib import md5
from pathlib import Path

import pytest

from amazin.blobs import sos_folder
from amazin.blobs.folder_store import BUCKET, BlobFolder, Detail, new_label
from amazin.blobs.importing import Import
from amazin.errors import (
    BodyError,
    DifferentContentError,
    NodeError,
    NodeFullError,
    NodeUnreachableError,
    NoSuchKeyError,
    SettingsError,
)
from amazin.model.bodies import HeldBody
from amazin.model.objects import UNKNOWN_SIZE, ObjectName
from amazin.nodes.folder.node import FolderNode
from tests.support.answers import told

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
def store(tmp_path: Path) -> BlobFolder:
    """A folder without any blob."""
    return BlobFolder(tmp_path)


def leave(path: Path, blob_id: str, body: bytes, headers: object = None) -> None:
    """Leave a blob as sos does."""
    (path / blob_id).write_bytes(body)
    if headers is not None:
        (path / f"{blob_id}.json").write_text(json.dumps(headers))


def read(store: BlobFolder, blob_id: str) -> bytes:
    """Return the bytes of a blob."""
    content = store.get(blob_id).content
    try:
        return b"".join(iter(content.read, b""))
    finally:
        content.close()


def ids(store: BlobFolder) -> list[str]:
    """Return all ids."""
    return [blob_id for batch in store.ids() for blob_id in batch]


def content_files(path: Path) -> list[Path]:
    """Return the content files of the node."""
    return [file for file in (path / "content").rglob("*") if file.is_file()]


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
    assert len(content_files(tmp_path)) == 1


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
    assert len(content_files(tmp_path)) == 1


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
    assert content_files(tmp_path) == []


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


def test_of_many_uploads_at_once_one_wins_and_nothing_is_torn(tmp_path: Path) -> None:
    bodies = [bytes([number]) * 70_000 for number in range(16)]
    results: list[int] = []

    def upload(body: bytes) -> None:
        try:
            BlobFolder(tmp_path).put("one", Stream(body[:40_000], body[40_000:]), {})
            results.append(200)
        except DifferentContentError as exc:
            results.append(told(exc).status)

    threads = [threading.Thread(target=upload, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [200] + [409] * 15
    assert read(BlobFolder(tmp_path), "one") in bodies
    assert len(content_files(tmp_path)) == 1


def test_a_full_disk_stores_nothing(tmp_path: Path) -> None:
    store = BlobFolder(tmp_path)

    def write(file: io.FileIO, data: memoryview) -> int:
        raise OSError(ENOSPC, "full")

    store.node = FolderNode("store", tmp_path, write=write)
    with pytest.raises(NodeFullError):
        store.put("mia", Stream(CAT), {})
    assert content_files(tmp_path) == []
    with pytest.raises(NoSuchKeyError):
        store.head("mia")


def test_a_folder_that_is_gone_is_no_missing_blob(tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    store = BlobFolder(place)
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
    store: BlobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amazin.nodes.folder.node._BATCH_KEYS", 2)
    assert list(store.ids()) == []
    for blob_id in ("b", "a1", "0", "a", "z"):
        store.put(blob_id, HeldBody(blob_id.encode()), {})
    assert list(store.ids()) == [["0", "a"], ["a1", "b"], ["z"]]
    assert list(store.details())[1] == Detail("a", 1, md5(b"a").hexdigest())


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
    content = store.get("mia", lambda info: (2, 4)).content
    assert content.read() == b"cat"
    content.close()
    assert ids(store) == ["mia", "plain"]
    assert content_files(tmp_path) == []


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
    assert content_files(tmp_path) == []


def test_lists_are_merged_in_order_and_each_blob_is_in_them_once(
    store: BlobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amazin.blobs.folder_store._BATCH_IDS", 2)
    monkeypatch.setattr("amazin.blobs.folder_store._BATCH_DETAILS", 2)
    for blob_id in ("b", "d", "f"):
        store.put(blob_id, HeldBody(CAT), {})
    for blob_id in ("a", "b", "c", "e", "g"):
        leave(tmp_path, blob_id, b"old", {})
    assert ids(store) == list("abcdefg")
    etag = md5(CAT).hexdigest()
    ours = {"b", "d", "f"}
    assert list(store.details()) == [
        Detail(name, 5, etag) if name in ours else Detail(name, 3, "")
        for name in "abcdefg"
    ]


def test_what_is_imported_while_it_is_listed_is_in_the_list(
    store: BlobFolder, tmp_path: Path
) -> None:
    for blob_id in "abc":
        leave(tmp_path, blob_id, CAT)
    details = store.details()
    assert next(details) == Detail("a", 5, "")
    name = ObjectName(BUCKET, "b")
    store.node.adopt(name, tmp_path / "b", new_label(1), {})
    store.old.remove("b")
    assert [detail.blob_id for detail in details] == ["b", "c"]


def test_headers_are_never_missed_while_a_blob_is_imported(
    store: BlobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, "mia", CAT, {"X-Name": "Mia"})
    stat = Path.stat

    def import_first(path: Path, **options: bool) -> os.stat_result:
        if path.name == "mia" and os.path.lexists(path):
            name = ObjectName(BUCKET, "mia")
            headers = store.old.headers("mia")
            store.node.adopt(name, path, new_label(1), headers)
            store.old.remove("mia")
        return stat(path, **options)

    monkeypatch.setattr(sos_folder.Path, "stat", import_first)
    assert store.head("mia").info.headers == {"X-Name": "Mia"}
    assert store.head("mia").info.etag


def test_blobs_are_there_at_every_moment_of_an_import(
    store: BlobFolder, tmp_path: Path
) -> None:
    names = [f"blob{number:03}" for number in range(150)]
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
    assert work.report.imported == 150


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
    store: BlobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, "mia", CAT)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr("amazin.nodes.folder.node.Path.open", fail)
    with pytest.raises(NodeError):
        store.get("mia")


def test_what_fails_to_be_read_is_no_missing_blob(
    store: BlobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, "mia", CAT)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(sos_folder.Path, "lstat", fail)
    monkeypatch.setattr(sos_folder.os, "scandir", fail)
    for act in (store.head, store.get, lambda _: list(store.ids())):
        with pytest.raises(NodeError):
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
