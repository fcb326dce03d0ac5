"""All objects with a prefix as one zip file, which is made while it is sent.

Nothing is compressed. Objects that are deleted meanwhile are left out. If a node fails,
the response breaks; no program opens a zip file without its central directory. The
directory entry of each object, some 0.6 KiB, is held in memory.

An entry has the object's key as its name. Characters that an extractor could read as a
path out of its folder, or could not store, are percent-encoded. So two objects never
get the same name, and decoding a name gives the key.

Source: APPNOTE.TXT 6.3.10 (PKWARE); Info-ZIP's extra field 0x5455 for the time.
"""

from __future__ import annotations

import io
import re
import struct
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import IO, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from amazin.api.addresses import bucket_of, parameters
from amazin.api.content import exactly
from amazin.api.services import Services
from amazin.cluster.bucket_listing import Entry, list_keys
from amazin.cluster.downloads import NamedObject
from amazin.cluster.large_objects import LargeObjectStore
from amazin.errors import BucketNotFoundError, NodeError, NoSuchKeyError
from amazin.model.objects import ObjectInfo
from amazin.model.stored_names import shown, stored_name
from amazin.nodes.interface import NodeObject
from amazin.web.conditions import modified_seconds
from amazin.web.messages import Request, Response
from amazin.web.streaming import Pieces, streamed

FIRST_SECOND, LAST_SECOND = 315_532_800, 2**31 - 1
"""1980 to 2038: the range of both formats of an entry's time."""
Members = Generator[tuple[str, NodeObject], None, None]
"""Keys with their open objects."""
_TIME_FIELD = struct.Struct("<HHBl")
_HOSTILE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\\]"  # control characters, and Windows' separator
    r"|%(?=[0-9A-Fa-f]{2})"  # so that decoding gives the key
    r"|(?:(?<=/)|\A)/|/\Z"  # an empty segment: an absolute path, or a folder
    r"|(?:(?<=/)|\A)[. ](?=[. ]*(?:/|\Z))"  # `..`, and what Windows reads as `..`
    r"|(?<=/[A-Za-z]):|(?<=\A[A-Za-z]):"  # a drive
)


def get_archive(request: Request, services: Services, bucket: str) -> Response:
    """Send a zip file of all objects whose keys begin with `prefix`."""
    bucket = bucket_of(services.settings, bucket)
    prefix = parameters(request, ("prefix",)).get("prefix", "")
    if not services.buckets.is_there(bucket):
        raise BucketNotFoundError
    entries = list_keys(services.objects, bucket, prefix=prefix)
    headers = (
        ("Content-Type", "application/zip"),
        ("Content-Disposition", f'attachment; filename="{bucket}.zip"'),
    )
    return streamed(headers, zipped(opened(services.objects, bucket, entries)))


def opened(objects: LargeObjectStore, bucket: str, entries: Iterable[Entry]) -> Members:
    """Yield keys with their open objects; each is closed before the next one."""
    for key, _ in entries:
        name, _ = stored_name(bucket, key)
        try:
            download = objects.get(name)
        except NoSuchKeyError:  # deleted since it was listed
            continue
        except NodeError as exc:
            exc.key = shown(name)
            raise
        content = NamedObject(download.content, shown(name), download.member.name)
        with closing(content):
            yield key, content


def zipped(members: Members) -> Pieces:
    """Yield a zip file of these objects. Raises: NodeError, if one can't be read."""
    sink = _Sink()
    archive = ZipFile(cast(IO[bytes], sink), "w", ZIP_STORED)
    names = Names()
    try:
        for key, content in members:
            entry = entry_for(names.name(key), content.info)
            with archive.open(entry, "w") as target:
                size = content.info.size
                for chunk in exactly(content.read(), content, size):
                    target.write(chunk)
                    yield from sink.taken()
        archive.close()
        yield from sink.taken()
    finally:
        members.close()
        archive.close()  # else the garbage collector would call it later


def entry_for(name: str, info: ObjectInfo) -> ZipInfo:
    """Return the archive's entry for an object."""
    seconds = min(max(modified_seconds(info), FIRST_SECOND), LAST_SECOND)
    entry = ZipInfo(name, time.gmtime(seconds)[:6])
    entry.extra = _TIME_FIELD.pack(0x5455, 5, 1, seconds)
    entry.external_attr = 0o644 << 16
    entry.file_size = info.size  # the header before the bytes says if 64 bits are used
    return entry


class Names:
    """Names of entries, for keys in ascending order."""

    def __init__(self) -> None:
        self._beginnings: list[str] = []
        """Named keys that are a prefix of the last key."""

    def name(self, key: str) -> str:
        """Return the name of an object's entry.

        If a key is the name of a file, it can't be a folder as well: after `a`, the
        name of `a/b` is `a%2Fb`.
        """
        beginnings = self._beginnings
        while beginnings and not key.startswith(beginnings[-1]):
            beginnings.pop()
        joints = {len(start) for start in beginnings if key[len(start)] == "/"}
        beginnings.append(key)
        hostile = {match.start() for match in _HOSTILE.finditer(key)}
        encoded = joints | hostile
        if not encoded:
            return key
        return "".join(
            escaped(char) if at in encoded else char for at, char in enumerate(key)
        )


def escaped(char: str) -> str:
    """Return a character in percent-encoding."""
    return "".join(f"%{byte:02X}" for byte in char.encode())


class _Sink(io.RawIOBase):
    """A file that can't seek; `taken` removes and returns what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(data)
        return len(data)

    def taken(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces
