"""Blobs: bytes under an id that never means other bytes. No HTTP.

What the blob APIs need of a store, and the store that a cluster is. Others:
`folder_store.py` (a folder), `server_store.py` (other blob servers).
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

_ID, _SHA1 = re.compile(r"[a-z0-9]{1,255}"), re.compile("[0-9a-f]{40}")


class Blobs(Protocol):
    """A store of blobs, by checked ids. Thread-safe."""

    def get(self, blob_id: str, choose: Chooser | None = None) -> Download:
        """Open a blob; the caller closes its content. As `Cluster.get`.

        Raises:
            NoSuchKeyError: there is none.
            NodeError, NoNodesError: it can't be told now.
        """

    def head(self, blob_id: str) -> Stored:
        """Find what is known of a blob. Raises: as `get`."""

    def put(self, blob_id: str, body: Body, headers: Mapping[str, str]) -> Stored:
        """Store a blob, unless it is stored: then it stays, with its headers.

        Raises:
            DifferentContentError: the id has other bytes.
            BodyError: the client sent less than it announced; nothing is stored.
            NodeError, NoNodesError: it may or may not be stored.
        """


class ClusterBlobs:
    """The blobs of a cluster: `Blobs`. The id is the SHA-1 of the bytes, in hex."""

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
    """Whether a blob may have this id."""
    return _ID.fullmatch(text) is not None


def is_sha1(blob_id: str) -> bool:
    """Whether the id is one that an api-server gives: the SHA-1 of the bytes."""
    return _SHA1.fullmatch(blob_id) is not None


def check_id(blob_id: str) -> str:
    """Return an id that a blob may have. Raises: InvalidIdError."""
    if not is_id(blob_id):
        raise InvalidIdError(
            "An id is 1 to 255 lower-case letters or digits (a-z, 0-9)"
        )
    return blob_id
