"""Imports the blobs of `sos`: they become objects of the folder node.

The old file of a blob is removed only after the blob is stored and synced. So an import
can be stopped and started again at any moment, also while the folder is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from amazin.blobs.folder_store import BlobFolder, new_label
from amazin.blobs.sos_folder import BrokenHeadersError, SosFolder
from amazin.blobs.store import BLOB_BUCKET
from amazin.errors import (
    DifferentContentError,
    NodeError,
    NodeFullError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.membership.member import finish
from amazin.model.bodies import digest_of
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName


@dataclass
class Report:
    """What an import did."""

    imported: int = 0
    bytes: int = 0
    already: int = 0
    """Blobs that were stored before; the stored copy is whole."""
    failures: dict[str, str] = field(default_factory=dict)
    """Reasons why blobs were not imported, by id."""


class Import:
    """An import into a store: from its own folder (moves) or another one (copies)."""

    def __init__(self, store: BlobFolder, source: Path | None = None) -> None:
        self.report = Report()
        self._store = store
        self._old = SosFolder(source) if source else store.old
        self._moves = source is None

    def ids(self) -> list[str]:
        """Return the sorted ids of all blobs to import. Raises: OSError."""
        return self._old.ids()

    def run(self, ids: Iterable[str], each: Callable[[], object]) -> Report:
        """Import these blobs; a failure does not stop the others.

        `each` is called after each blob.

        Raises: NodeFullError: the disk is full.
        """
        for blob_id in ids:
            try:
                self._import(blob_id)
            except NodeFullError:
                raise
            except BrokenHeadersError as exc:
                self.report.failures[blob_id] = str(exc)
            except (DifferentContentError, NodeError) as exc:
                self.report.failures[blob_id] = str(exc)
            except OSError as exc:
                self.report.failures[blob_id] = f"can't be read: {exc.strerror}"
            each()
        if self._moves:
            self._remove_lone_headers()
        return self.report

    def _remove_lone_headers(self) -> None:
        """Remove headers without a blob, which a stopped import left."""
        for blob_id in self._old.ids_of_lone_headers():
            with suppress(NoSuchKeyError):
                self._store.node.start_head(ObjectName(BLOB_BUCKET, blob_id)).wait()
                self._old.remove(blob_id)

    def _import(self, blob_id: str) -> None:
        name = ObjectName(BLOB_BUCKET, blob_id)
        try:
            stored = self._store.node.start_head(name).wait()
        except NoSuchKeyError:
            try:
                info = self._take(name)
            except NoSuchKeyError:  # another import removed it meanwhile
                return
            except PreconditionError:
                self._require_same(blob_id, self._store.node.start_head(name).wait())
            else:
                self.report.imported += 1
                self.report.bytes += info.size
        else:
            self._require_same(blob_id, stored)
        if self._moves:
            self._old.remove(blob_id)

    def _require_same(self, blob_id: str, stored: ObjectInfo) -> None:
        with suppress(FileNotFoundError):
            if self._old.digest(blob_id) != (stored.size, stored.etag):
                self._require_replaced(blob_id)
        self.report.already += 1

    def _require_replaced(self, blob_id: str) -> None:
        """Check that the old file is damaged and a whole copy is stored.

        Raises: DifferentContentError, NodeError.
        """
        if not self._old.is_damaged(blob_id):
            raise DifferentContentError(
                "Something else is stored under this id; its bytes never change"
            )
        if self._stored_sha1(blob_id) != blob_id:
            raise NodeError("it is damaged, and other wrong bytes are stored")
        if not self._moves:
            raise NodeError("it is damaged; a whole copy is stored")

    def _stored_sha1(self, blob_id: str) -> str:
        """Read a stored blob, and return its SHA-1."""
        content = self._store.node.start_get(ObjectName(BLOB_BUCKET, blob_id)).wait()
        with closing(content):
            return digest_of(iter(content.read, b""), "sha1")[1]

    def _take(self, name: ObjectName) -> ObjectInfo:
        """Store a blob: link its file if that has no other link, else copy it.

        The file of another folder is copied, because its server may still write to it.
        """
        headers = self._old.headers(name.key)
        path = self._old.file_of(name.key)
        try:
            if self._old.is_damaged(name.key):
                raise NodeError("it is damaged: its bytes have another SHA-1")
            found = path.lstat()
            label = new_label(found.st_mtime_ns)
            if self._moves and found.st_nlink == 1:
                with suppress(NodeError):
                    return self._store.node.adopt(name, path, label, headers)
            return self._copy(name, path, label, headers)
        except FileNotFoundError:
            raise NoSuchKeyError("it vanished") from None

    def _copy(
        self, name: ObjectName, path: Path, label: Label, headers: dict[str, str]
    ) -> ObjectInfo:
        with path.open("rb", buffering=0) as file:
            upload = self._store.node.start_upload(
                name, None, label, headers, if_absent=True
            )
            return finish(upload, iter(lambda: file.read(CHUNK_BYTES), b""))
