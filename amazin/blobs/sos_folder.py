"""A folder of `sos`: a file `<id>` for each blob, with its headers in `<id>.json`.

Reads the files; `blobs/importing.py` removes them after storing them. All calls block.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from amazin.blobs.store import MAX_HEADER_BYTES, is_id, is_sha1
from amazin.errors import NoSuchKeyError, SettingsError
from amazin.model.objects import ObjectInfo

OWN_FOLDER = "content"
"""The name of our own folder beside the blobs, which is also a valid id."""
_MAX_NAME_BYTES = 255
_MAX_WARNINGS = 1000

log = logging.getLogger("amazin.blobs")


class BrokenHeadersError(ValueError):
    """A file `<id>.json` is not in the format of sos."""


class SosFolder:
    """The blobs of sos in a folder. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned: set[str] = set()

    def require_room(self) -> None:
        """Check that no blob has the name of our folder. Raises: SettingsError."""
        place = self.path / OWN_FOLDER
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise SettingsError(
                f"{place}: the blob `{OWN_FOLDER}` of sos lies where a folder has to "
                "be; move it elsewhere, and upload it again"
            )

    def ids(self) -> list[str]:
        """Return the ids of all blobs, sorted. Raises: OSError."""
        with os.scandir(self.path) as entries:
            return sorted(
                entry.name for entry in entries if is_id(entry.name) and entry.is_file()
            )

    def ids_of_lone_headers(self) -> list[str]:
        """Return the sorted ids that have headers but no blob. Raises: OSError."""
        with os.scandir(self.path) as entries:
            names = {entry.name for entry in entries}
        found = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return sorted(
            blob_id for blob_id in found if is_id(blob_id) and blob_id not in names
        )

    def sizes(self, ids: Iterable[str]) -> list[int | None]:
        """Return the size of each blob in bytes; None: it is gone. Raises: OSError."""
        found: list[int | None] = []
        for blob_id in ids:
            try:
                found.append(self.file_of(blob_id).stat().st_size)
            except FileNotFoundError:
                found.append(None)
        return found

    def find(self, blob_id: str) -> ObjectInfo:
        """Return the info about a blob, with an empty ETag.

        Raises:
            NoSuchKeyError: there is no such blob.
            OSError: the folder can't be read.
        """
        # Headers are removed after the blob: so they are read before it.
        headers = self.headers_or_none(blob_id)
        try:
            found = self.file_of(blob_id).stat()
        except FileNotFoundError:
            raise NoSuchKeyError("no such blob") from None
        if not stat.S_ISREG(found.st_mode):
            raise NoSuchKeyError("no such blob")
        return ObjectInfo(found.st_size, "", found.st_mtime_ns, None, headers)

    def file_of(self, blob_id: str) -> Path:
        """Return the path of a blob."""
        return self.path / blob_id

    def headers_file_of(self, blob_id: str) -> Path:
        """Return the path of a blob's headers, which may not exist."""
        return self.path / f"{blob_id}.json"

    def headers(self, blob_id: str) -> dict[str, str]:
        """Return the headers stored with a blob.

        Raises:
            BrokenHeadersError: the file is not in the format of sos.
            OSError: the file can't be read.
        """
        path = self.headers_file_of(blob_id)
        if len(path.name) > _MAX_NAME_BYTES:
            return {}
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise BrokenHeadersError("its .json is no file")
            with path.open("rb") as file:
                return parse_headers(file.read(MAX_HEADER_BYTES + 1))
        except FileNotFoundError:
            return {}

    def headers_or_none(self, blob_id: str) -> dict[str, str]:
        """Return the headers; if they are broken, none, with one warning.

        Raises: OSError.
        """
        try:
            return self.headers(blob_id)
        except BrokenHeadersError as exc:
            if blob_id not in self._warned and len(self._warned) < _MAX_WARNINGS:
                self._warned.add(blob_id)
                log.warning("blob %s is served without headers: %s", blob_id, exc)
            return {}

    def digest(self, blob_id: str, algorithm: str = "md5") -> tuple[int, str]:
        """Read a blob; return its size and its digest in hex. Raises: OSError."""
        with self.file_of(blob_id).open("rb", buffering=0) as file:
            new = partial(hashlib.new, algorithm, usedforsecurity=False)
            digest = hashlib.file_digest(file, new)
            return file.tell(), digest.hexdigest()

    def is_damaged(self, blob_id: str) -> bool:
        """Whether the id is a SHA-1, but not that of the bytes. Raises: OSError.

        A power cut leaves such a blob if sos was writing it.
        """
        return is_sha1(blob_id) and self.digest(blob_id, "sha1")[1] != blob_id

    def remove(self, blob_id: str) -> None:
        """Remove a blob, then its headers. Raises: OSError."""
        self.file_of(blob_id).unlink(missing_ok=True)
        path = self.headers_file_of(blob_id)
        if len(path.name) <= _MAX_NAME_BYTES:
            path.unlink(missing_ok=True)


def parse_headers(text: bytes) -> dict[str, str]:
    """Return the X-... headers in a flat JSON object of strings.

    Raises: BrokenHeadersError.
    """
    if len(text) > MAX_HEADER_BYTES:
        raise BrokenHeadersError("its .json is too long")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenHeadersError("its .json is no JSON") from None
    if not isinstance(found, dict):
        raise BrokenHeadersError("its .json has no headers")
    return dict(_plain(found))


def _plain(found: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if not isinstance(value, str):
            raise BrokenHeadersError("its .json has values that are no text")
        if name.lower().startswith("x-"):
            yield name.title(), _as_header(value)


def _as_header(value: str) -> str:
    """Return the text as WSGI passes headers: each byte of its UTF-8 a character."""
    return value.encode(errors="replace").decode("latin-1")
