"""Large objects in parts: the format of manifests, and which bytes each part has. Pure.

A *manifest* is a small object that is stored under the name of the large object. Its
header `X-Amazin-Parts` has what HEAD and lists show, so that they need not read its
body:

    <upload id>.<bytes of a part>.<bytes of the object>.<MD5 of the object>

Its body is JSON with the MD5 of each part. All parts but the last have the same size.
The body names the upload, so that two manifests of the same bytes differ. This is a
storage format: `tests/cluster/test_large_objects.py` pins it.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from amazin.errors import NodeProtocolError
from amazin.model.objects import BUCKET, CHUNK_BYTES, ObjectInfo, ObjectName

PARTS_HEADER = "X-Amazin-Parts"
"""Header of a manifest; see the module's docstring."""
OWNER_HEADER = "X-Amazin-Owner"
"""Header of a part: the stored key of its object, in URL-safe Base64."""
MAX_PARTS = 10_000
"""The maximum number of parts of an object, so that its manifest stays small."""
MAX_MANIFEST_BYTES = CHUNK_BYTES
"""The largest manifest, which is written whole and in one request, as a small body."""

_MD5_BYTES = 16
_NO_MD5 = "0" * 32
_OUTLINE = re.compile(
    r"([0-9a-f]{32})\.([1-9][0-9]{0,15})\.([1-9][0-9]{0,18})\.([0-9a-f]{32})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes within one part."""

    index: int
    """Number of the part, from 0."""
    first: int
    last: int
    """The last byte, inclusive; `first` and `last` are counted from the part's
    start."""
    size: int
    """Size of the whole part."""

    @property
    def length(self) -> int:
        """The number of bytes in the range."""
        return self.last - self.first + 1

    @property
    def is_whole(self) -> bool:
        """Whether the range is the whole part."""
        return self.length == self.size


def new_upload_id() -> str:
    """Return an identifier that no other upload has."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Outline:
    """How an object is divided into parts: the value of `X-Amazin-Parts`."""

    upload_id: str
    part_bytes: int
    size: int
    md5: str

    @classmethod
    def new(
        cls, part_bytes: int, size: int, new_id: Callable[[], str] = new_upload_id
    ) -> Outline:
        """Return the outline of a new upload, without its MD5, which is not known yet.

        Parts are larger than `part_bytes` if there would be more than `MAX_PARTS`.
        """
        least = -(-size // MAX_PARTS)
        return cls(new_id(), max(part_bytes, least), size, _NO_MD5)

    @classmethod
    def parse(cls, text: str) -> Outline | None:
        """Parse the text that `str` makes; None for any other text."""
        found = _OUTLINE.fullmatch(text)
        if not found or int(found[3]) > int(found[2]) * MAX_PARTS:
            return None
        return cls(found[1], int(found[2]), int(found[3]), found[4])

    def __str__(self) -> str:
        return f"{self.upload_id}.{self.part_bytes}.{self.size}.{self.md5}"

    @cached_property
    def count(self) -> int:
        """The number of parts."""
        return -(-self.size // self.part_bytes)

    def spans(self, first: int, last: int) -> Iterator[Span]:
        """Yield, in order, the ranges that make up bytes first..last (inclusive)."""
        size = self.part_bytes
        for index in range(first // size, last // size + 1):
            start = index * size
            own_size = min(size, self.size - start)
            yield Span(
                index,
                max(first - start, 0),
                min(last - start, own_size - 1),
                own_size,
            )

    def dump(self, md5s: Sequence[str]) -> bytes:
        """Return the manifest's body, given the MD5 of each part in hex."""
        value = {
            "upload": self.upload_id,
            "part_bytes": self.part_bytes,
            "size": self.size,
            "md5": self.md5,
            "part_md5s": b64encode(bytes.fromhex("".join(md5s))).decode(),
        }
        return json.dumps(value, separators=(",", ":")).encode()

    def load(self, body: bytes) -> list[str]:
        """Return the MD5 of each part in hex. Raises: NodeProtocolError."""
        try:
            value = json.loads(body)
            is_ours = value["upload"] == self.upload_id
            digests = b64decode(value["part_md5s"], validate=True)
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise NodeProtocolError("a manifest can't be read") from exc
        if not is_ours or len(digests) != _MD5_BYTES * self.count:
            raise NodeProtocolError("a manifest is not the one that it should be")
        starts = range(0, len(digests), _MD5_BYTES)
        return [digests[at : at + _MD5_BYTES].hex() for at in starts]


def outline_of(info: ObjectInfo) -> Outline | None:
    """Return how an object is divided into parts; None: it is not a valid manifest."""
    if PARTS_HEADER not in info.headers:
        return None
    return Outline.parse(info.headers[PARTS_HEADER])


def as_whole(info: ObjectInfo) -> ObjectInfo:
    """Return the object info that clients see: of a manifest, its large object's."""
    outline = outline_of(info)
    if outline is None:
        return info
    headers = {
        name: info.headers[name] for name in info.headers if name != PARTS_HEADER
    }
    return replace(info, size=outline.size, etag=outline.md5, headers=headers)


def refers_to(info: ObjectInfo, upload_id: str) -> bool:
    """Whether a copy is a manifest of this upload, or one that can't be parsed."""
    if PARTS_HEADER not in info.headers:
        return False
    outline = outline_of(info)
    return outline is None or outline.upload_id == upload_id


def owner_header(owner: ObjectName) -> dict[str, str]:
    """Return the header that is stored with each part of an object."""
    return {OWNER_HEADER: urlsafe_b64encode(owner.key.encode()).decode()}


def owner_of(part: ObjectInfo) -> ObjectName | None:
    """Return the object that a part belongs to; None if the header is not valid."""
    try:
        key = urlsafe_b64decode(part.headers.get(OWNER_HEADER, "")).decode()
    except ValueError:
        return None
    return ObjectName(BUCKET, key) if key else None


def require_understood(info: ObjectInfo) -> None:
    """Raises: NodeProtocolError, if the object is a manifest of an unknown format."""
    if PARTS_HEADER in info.headers and outline_of(info) is None:
        raise NodeProtocolError("a manifest can't be understood")
