"""Holds request bodies in temporary files, with a limit for all of them together.

A request may take half of what others leave: however many of them stop in the middle,
there is room for another one.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from errno import EDQUOT, ENOSPC, errorcode
from typing import IO

from amazin.blocking import BlockingCalls
from amazin.errors import HTTPError
from amazin.model.objects import CHUNK_BYTES, UNKNOWN_SIZE

log = logging.getLogger("amazin.bodies")


class SpooledBody:
    """A complete body in a temporary file, or in memory if it is small."""

    def __init__(self, file: IO[bytes], length: int, room: SpoolRoom) -> None:
        self.length = length
        self._file = file
        self._room = room

    def chunks(self) -> Iterator[bytes]:
        """See `Body`."""
        self._file.seek(0)
        while chunk := self._room.calls.run(self._file.read, CHUNK_BYTES):
            yield chunk

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks, so that this can be a response's body."""
        return self.chunks()

    def can_restart(self) -> bool:
        """See `Body`."""
        return True

    def close(self) -> None:
        """Remove the file and release its space. Idempotent."""
        if not self._file.closed:
            self._file.close()
            self._room.give_back(self.length)


class SpoolRoom:
    """The space that all spooled bodies of this process share. Thread-safe."""

    def __init__(self, folder: str, capacity_bytes: int) -> None:
        self.calls = BlockingCalls()
        self._folder = folder
        self._free = self.limit_bytes = capacity_bytes
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """The bytes that all bodies hold now."""
        return self.limit_bytes - self._free

    def close(self) -> None:
        """End idle threads."""
        self.calls.close()

    def spool(
        self,
        chunks: Iterator[bytes],
        announced: int = UNKNOWN_SIZE,
        in_memory: int = CHUNK_BYTES,
    ) -> SpooledBody:
        """Write chunks to a file, once they are more than `in_memory` bytes.

        `announced` is their length, if it is known: nothing is read of what does not
        fit.

        Raises: HTTPError 507, if there is not enough space; 503, if the folder is
        unusable.
        """
        if announced > self._share(0):
            raise spool_full(announced)
        file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - the body owns it
            max_size=in_memory, dir=self._folder
        )
        length = 0
        try:
            for chunk in chunks:
                if not self._take(len(chunk), length):
                    raise spool_full(announced)
                length += len(chunk)
                self.calls.run(file.write, chunk)
            self.calls.run(file.flush)
        except OSError as exc:
            self._discard(file, length)
            raise spool_error(exc, announced) from exc
        except BaseException:
            self._discard(file, length)
            raise
        return SpooledBody(file, length, self)

    def _discard(self, file: IO[bytes], length: int) -> None:
        with suppress(OSError):  # closing flushes, which fails on a full disk
            file.close()
        self.give_back(length)

    def _share(self, held: int) -> int:
        """Return how many bytes a request may hold that holds so many."""
        return (self._free + held) // 2

    def _take(self, size: int, held: int) -> bool:
        with self._lock:
            if held + size > self._share(held):
                return False
            self._free -= size
            return True

    def give_back(self, size: int) -> None:
        """Release space that was taken."""
        with self._lock:
            self._free += size


def spool_full(announced: int) -> HTTPError:
    """Return the error for a body for which there is not enough space."""
    if announced != UNKNOWN_SIZE:
        message = f"No room now to hold {announced} bytes until all have arrived"
    else:
        message = (
            "No room now to hold a body of unknown length until all of it has arrived; "
            "if it is an upload, send a Content-Length"
        )
    return HTTPError(507, "SpoolFull", message)


def spool_error(error: OSError, announced: int) -> HTTPError:
    """Return the error for the folder's OSError; log it unless the disk is full."""
    if error.errno in (ENOSPC, EDQUOT):
        return spool_full(announced)
    log.error("SPOOL_DIR can't be used: %s", errorcode.get(error.errno or 0, error))
    message = "The body can't be held now until all of it has arrived"
    return HTTPError(503, "SpoolFailed", message)
