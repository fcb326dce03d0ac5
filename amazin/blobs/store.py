"""Stores of blobs: the bytes under an id never change. No HTTP.

Here are the interface `Blobs` and the store in a cluster. The others are in
`folder_store.py` (a folder) and `server_store.py` (other blob servers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from amazin.cluster.cluster import Chooser, Download
from amazin.cluster.large_objects import LargeObjectStore
from amazin.cluster.uploads import Stored
from amazin.errors import InvalidIdError
from amazin.model.bodies import Body
from amazin.model.stored_names import blob_name

BLOB_BUCKET = "blobs"
"""The bucket of blobs on blob servers and in folders."""
MAX_HEADER_BYTES = 64 * 1024
"""The most that the headers of a blob may have on blob servers and in folders."""
_ID, _SHA1 = re.compile(r"[a-z0-9]{1,255}"), re.compile("[0-9a-f]{40}")


class Blobs(Protocol):
    """A store of blobs; callers check the ids. Thread-safe."""

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        """Open a blob; the caller closes its content. As `Cluster.get`.

        Raises:
            NoSuchKeyError: there is no such blob.
            NodeError, NoNodesError: it is unknown whether there is one.
        """

    def head(self, blob_id: str) -> Stored:
        """Return the info about a blob, and where it is. Raises: as `get`."""

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        """Store a blob; if it is stored already, it keeps its headers.

        Raises:
            DifferentContentError: other bytes are stored under the id.
            BodyError: the client sent less than it announced; nothing is stored.
            NodeError, NoNodesError: it may or may not be stored.
        """


class ClusterBlobs:
    """The blobs in a cluster, as `Blobs`. Ids are the SHA-1 of the bytes, in hex."""

    def __init__(self, objects: LargeObjectStore) -> None:
        self._objects = objects

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        """See `Blobs`."""
        return self._objects.get(blob_name(blob_id), choose)

    def head(self, blob_id: str) -> Stored:
        """See `Blobs`."""
        return self._objects.head(blob_name(blob_id))

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        """See `Blobs`."""
        return self._objects.put_once(blob_name(blob_id), body, headers)


def is_id(text: str) -> bool:
    """Whether the text is a valid id."""
    return _ID.fullmatch(text) is not None


def is_sha1(blob_id: str) -> bool:
    """Whether the id has the form of a SHA-1 in hex, as api-servers give them."""
    return _SHA1.fullmatch(blob_id) is not None


def check_id(blob_id: str) -> str:
    """Return the id unchanged if it is valid. Raises: InvalidIdError."""
    if not is_id(blob_id):
        raise InvalidIdError(
            "An id is 1 to 255 lower-case letters or digits (a-z, 0-9)"
        )
    return blob_id
