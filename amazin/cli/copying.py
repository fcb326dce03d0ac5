"""Copies and moves single objects: to the store, from it, and within it."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amazin.cli.common import FailureError
from amazin.cli.options import doubts, with_hints
from amazin.cli.places import STANDARD, Kind, Way
from amazin.cli.progress import Display
from amazin.client.client import GatewayClient
from amazin.client.files import Show, copy, download, upload
from amazin.client.objects import StoredObject
from amazin.client.partial import remove_leftovers, sync_folder
from amazin.client.streams import ObjectStream
from amazin.errors import ClientError, DamagedError, LocalError, RefusedError
from amazin.model.names import printable

DONE = {Kind.UPLOAD: "Stored", Kind.DOWNLOAD: "Fetched", Kind.WITHIN: "Copied"}


@dataclass(frozen=True)
class Copier:
    """Copies objects, or moves them, or only says what it would do."""

    client: GatewayClient
    display: Display
    headers: Mapping[str, str] = field(default_factory=dict)
    """To be kept with what is uploaded."""
    is_move: bool = False
    is_dry: bool = False
    replaces_links: bool = False
    """Whether a link is replaced by what is fetched, not followed."""

    def run(self, way: Way) -> StoredObject | None:
        """Copy one object, and show the progress; None: it failed, or is a dry run."""
        shown = way.source if way.kind is Kind.UPLOAD else way.address
        with (
            self.display.noting(way.address, way.local),
            self.display.bar(shown, None) as show,
        ):
            if self.is_dry and way.kind is not Kind.UPLOAD:
                with with_hints(self.client, source=way.source):
                    self.client.inspect(way.source)
            stored = self.copy(way, show)
            if stored and way.kind is Kind.DOWNLOAD:
                remove_leftovers(Path(os.path.realpath(way.target)))
            return stored
        return None

    def copy(self, way: Way, show: Show) -> StoredObject | None:
        """Copy one object; if it is a move, remove its source.

        Raises: ClientError, OSError.
        """
        if self.is_dry:
            names = f"{printable(way.source)} as {printable(way.target)}"
            self.display.print(f"{self.verb(way.kind)} {names}")
            return None
        steps = {Kind.UPLOAD: self._store, Kind.DOWNLOAD: self._fetch}
        return steps.get(way.kind, self._copy)(way, show)

    def verb(self, kind: Kind) -> str:
        """Return what is done, to begin a sentence."""
        if self.is_dry:
            return f"Would {'move' if self.is_move else kind.value}"
        return "Moved" if self.is_move else DONE[kind]

    def remove_source(self, way: Way, seen: os.stat_result | StoredObject) -> None:
        """Remove what was moved, unless it was replaced since it was `seen`.

        Raises: ClientError, OSError.
        """
        if isinstance(seen, StoredObject):
            if self.client.head(way.source).etag != seen.etag:
                raise ClientError("It was replaced meanwhile, so it stays")
            try:
                self.client.delete(way.source)
            except RefusedError as exc:
                exc.add_note("it was copied, but not removed")
                raise
            return
        now = Path(way.source).stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (
            seen.st_ino,
            seen.st_size,
            seen.st_mtime_ns,
        ):
            raise LocalError("It was changed meanwhile, so it stays")
        try:
            Path(way.source).unlink()
        except OSError as exc:
            message = f"It was copied, but can't be removed: {exc.strerror}"
            raise LocalError(message) from exc

    def _store(self, way: Way, show: Show) -> StoredObject:
        with with_hints(self.client, target=way.target):
            if way.source == STANDARD:
                body = sys.stdin.buffer
                return self.client.put(way.target, body, None, self.headers)
            path = Path(way.source)
            seen = path.stat() if self.is_move else None
            stored = upload(self.client, path, way.target, self.headers, show)
        if seen:
            self.remove_source(way, seen)
        return stored

    def _fetch(self, way: Way, show: Show) -> StoredObject:
        with with_hints(self.client, source=way.source):
            if self.replaces_links:
                stored = download(self.client, way.source, Path(way.target), show)
            else:
                stored = fetch(self.client, way.source, way.target, show)
        if self.is_move:
            sync_folder(Path(os.path.realpath(way.target)).parent)
            self.remove_source(way, stored)
        return stored

    def _copy(self, way: Way, show: Show) -> StoredObject:
        with with_hints(self.client, source=way.source):
            seen, headers = self.client.inspect(way.source)
        with with_hints(self.client, target=way.target, is_within=True):
            if "/" in way.source and "/" in way.target:
                stored = self.client.copy(way.source, way.target)
            else:
                stored = carry(self.client, way, seen, headers, show)
        if self.is_move:
            self.remove_source(way, seen)
        return stored


def fetch(client: GatewayClient, address: str, file: str, show: Show) -> StoredObject:
    """Fetch an object into a file, or write it to standard output or a device.

    A file is replaced only by the whole object.

    Raises: ClientError, OSError.
    """
    if file == STANDARD:
        with client.get(address) as stream:
            copy(stream, sys.stdout.buffer, show)
        sys.stdout.buffer.flush()
        return stream.info
    number = descriptor_of(file)
    if number is not None:
        opened = os.fdopen(inherited(number), "wb")
        with opened, client.get(address) as stream:
            copy(stream, opened, show)
        return stream.info
    path = Path(file)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with client.get(address) as stream, path.open("wb", buffering=0) as device:
            copy(stream, device, show)
        return stream.info
    path = Path(os.path.realpath(file))  # a link is not replaced
    return download(client, address, path, show)


def descriptor_of(file: str) -> int | None:
    """Return the descriptor that a path stands for, as `/dev/stdout`; None: it is none.

    Such a file is not replaced, nor opened anew: the shell goes on behind what is
    written.
    """
    name = {"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}.get(file, file)
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/([0-9]{1,6})", name)
    return int(match[1]) if match else None


def inherited(number: int) -> int:
    """Return a copy of a descriptor that the shell has opened.

    Where it has not, one of our own may have the number. Raises: OSError.
    """
    if not os.get_inheritable(number):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return os.dup(number)


def carry(
    client: GatewayClient,
    way: Way,
    seen: StoredObject,
    headers: Mapping[str, str],
    show: Show,
) -> StoredObject:
    """Copy an object through this machine: ids can't be copied by a gateway.

    Raises: ClientError.
    """
    with client.get(way.source, etag=seen.etag) as stream:
        stored = client.put(way.target, Pieces(stream, show), seen.size, headers)
    if seen.has_md5 and stored.etag != seen.etag:
        raise DamagedError("What was stored is not what came: its MD5 is another")
    return stored


class Pieces:
    """A download as the body of an upload, which asks for no less than a piece."""

    def __init__(self, stream: ObjectStream, show: Show) -> None:
        self._stream = stream
        self._pieces: Iterator[bytes] = iter(stream)
        self._show = show

    def read(self, size: int, /) -> bytes:
        """Return the next piece."""
        piece = next(self._pieces, b"")
        self._show(self._stream.position, self._stream.info.size)
        return piece


def make_bucket_for(copier: Copier, way: Way, is_wanted: bool) -> bool:
    """Make the bucket of the target, unless it exists or is not wanted.

    Return whether it would be made, in a dry run.

    Raises: FailureError: there is none, in a dry run. ClientError.
    """
    bucket, slash, _ = way.target.partition("/")
    if not copier.is_dry:
        if is_wanted:
            copier.client.make_bucket(bucket)
        return False
    has_none = way.kind is Kind.DOWNLOAD or not (slash or is_wanted)  # here, or an id
    if has_none or copier.client.has_bucket(bucket):
        return False
    if not is_wanted:
        raise FailureError(
            f"There is no such bucket; --make-bucket makes {printable(bucket)}"
        )
    copier.display.print(f"Would make the bucket {printable(bucket)}")
    return True


# What is said


def warn_of_headers(copier: Copier) -> None:
    """Tell of headers that perhaps were not kept, if anything was stored."""
    is_stored = copier.display.done and not copier.is_dry
    for sentence in doubts(copier.headers) if is_stored else ():
        copier.display.warn(sentence)


def is_output(file: str) -> bool:
    """Whether the file is standard output, also by another name."""
    try:
        return file == STANDARD or os.path.samestat(Path(file).stat(), os.fstat(1))
    except (OSError, ValueError):
        return False


def is_shown(file: str) -> bool:
    """Whether the object is printed on the terminal."""
    return is_output(file) and sys.stdout is not None and sys.stdout.isatty()


def print_done(copier: Copier, way: Way, stored: StoredObject) -> None:
    """Print that an object was copied, unless its bytes are on standard output."""
    if way.kind is Kind.DOWNLOAD and is_output(way.target):
        return
    done = f"{copier.verb(way.kind)} {printable(way.target)}"
    copier.display.print(f"{done}, {stored.size} bytes")
