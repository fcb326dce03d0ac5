"""Large objects in parts: what their manifests say, and where the parts lie. Pure.

A *manifest* is a small object under the name of the large one. Its header
`X-Amazin-Parts` has what HEAD and lists tell, so that they need not read it:

    <upload id>.<bytes of a part>.<bytes of the object>.<MD5 of the object>

Its body is JSON, with the MD5 of each part. All parts but the last have one size. That
the body names the upload makes two manifests of the same bytes differ. This is a
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
from amazin.model.objects import BUCKET, ObjectInfo, ObjectName

PARTS_HEADER = "X-Amazin-Parts"
"""Header of a manifest."""
OWNER_HEADER = "X-Amazin-Owner"
"""Header of a part: the stored key of its object, in URL-safe Base64."""
MAX_PARTS = 10_000
"""Of one object. The manifest of so many is still sent in one piece."""
MAX_MANIFEST_BYTES = 256 * 1024

_MD5_BYTES = 16
_NO_MD5 = "0" * 32
_OUTLINE = re.compile(
    r"([0-9a-f]{32})\.([1-9][0-9]{0,15})\.([1-9][0-9]{0,18})\.([0-9a-f]{32})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of one part."""

    index: int
    """From 0."""
    first: int
    last: int
    """The last byte, inclusive; both counted within the part."""
    size: int
    """Of the whole part."""

    @property
    def length(self) -> int:
        """How many bytes these are."""
        return self.last - self.first + 1

    @property
    def is_whole(self) -> bool:
        """Whether these are all bytes of the part."""
        return self.length == self.size


def new_upload_id() -> str:
    """Return what no other upload is named."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Outline:
    """How an object lies in parts."""

    upload_id: str
    part_bytes: int
    size: int
    md5: str

    @classmethod
    def new(
        cls, part_bytes: int, size: int, new_id: Callable[[], str] = new_upload_id
    ) -> Outline:
        """Begin an upload; its MD5 is not known yet.

        The parts are larger than `part_bytes` where there would be too many.
        """
        least = -(-size // MAX_PARTS)
        return cls(new_id(), max(part_bytes, least), size, _NO_MD5)

    @classmethod
    def parse(cls, text: str) -> Outline | None:
        """Read what `str` wrote; None for anything else."""
        found = _OUTLINE.fullmatch(text)
        if not found or int(found[3]) > int(found[2]) * MAX_PARTS:
            return None
        return cls(found[1], int(found[2]), int(found[3]), found[4])

    def __str__(self) -> str:
        return f"{self.upload_id}.{self.part_bytes}.{self.size}.{self.md5}"

    @cached_property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.size // self.part_bytes)

    def spans(self, first: int, last: int) -> Iterator[Span]:
        """Yield where bytes first..last (inclusive) of the object lie, in order."""
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
        """Return the MD5 of each part, in hex. Raises: NodeProtocolError."""
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
    """Return how an object lies in parts; None: it does not."""
    if PARTS_HEADER not in info.headers:
        return None
    return Outline.parse(info.headers[PARTS_HEADER])


def as_whole(info: ObjectInfo) -> ObjectInfo:
    """Return an object as clients see it: a manifest as what it stands for."""
    outline = outline_of(info)
    if outline is None:
        return info
    headers = {
        name: info.headers[name] for name in info.headers if name != PARTS_HEADER
    }
    return replace(info, size=outline.size, etag=outline.md5, headers=headers)


def refers_to(info: ObjectInfo, upload_id: str) -> bool:
    """Whether a copy needs the parts of an upload, or can't be understood."""
    if PARTS_HEADER not in info.headers:
        return False
    outline = outline_of(info)
    return outline is None or outline.upload_id == upload_id


def owner_header(owner: ObjectName) -> dict[str, str]:
    """Return the header of the parts of an object."""
    return {OWNER_HEADER: urlsafe_b64encode(owner.key.encode()).decode()}


def owner_of(part: ObjectInfo) -> ObjectName | None:
    """Return the object that a part was stored for; None: it doesn't say."""
    try:
        key = urlsafe_b64decode(part.headers.get(OWNER_HEADER, "")).decode()
    except ValueError:
        return None
    return ObjectName(BUCKET, key) if key else None


def require_understood(info: ObjectInfo) -> None:
    """Raise NodeProtocolError if it is a manifest of a kind that is not known here."""
    if PARTS_HEADER in info.headers and outline_of(info) is None:
        raise NodeProtocolError("a manifest can't be understood")
