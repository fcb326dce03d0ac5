"""Names under which the objects of buckets lie on the nodes. Pure.

All of them lie in the nodes' bucket `store`, under keys that begin with `-`, which no
id of the object API does. A stored name is one key's only; names of one form sort as
their keys do, by UTF-8 bytes; none is a directory above another (on MinIO it would
hide what is below it, on versitygw they exclude each other); and all kinds of node
take it as it is. The names are a storage format: `tests/model/test_stored_names.py`
pins it.

Forms, the first that fits, behind `-o/<bucket>/`:
    k/<key>                         the key itself
    x/<hex>                         in directories of 240 digits
    z/<hex of 360 bytes>/<SHA-256>  the key itself is stored as a header
Each ends in a space, which no directory does.

Source: Amazon S3 User Guide, "General purpose buckets naming rules"; what MinIO and
versitygw do with names was read in their sources, and measured.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Protocol

from amazin.model.names import printable
from amazin.model.objects import BUCKET, ObjectName

KEY_HEADER = "X-Amazin-Key"
"""Header of an object in the long form: its key, in URL-safe Base64."""
MARKERS = "-b/"
"""Before the name of a bucket: the key of the object that says that it exists."""
BLOBS = "-h/"
"""Before the id of a blob: the key that it is stored under."""
PARTS = "-p/"
"""Before the id of an upload: the keys that its parts are stored under."""

_OBJECTS = "-o/"
_MAX_NAME_BYTES = 1024
_MAX_SEGMENT_BYTES = 254
"""255 with the space at the end."""
_DIGITS = 240
_LONG_BYTES = 360
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f\ufffe\uffff]"  # versitygw lists the latter two as U+FFFD
    r"|\A/|//"
    r"| /"  # `a ` and `a /b` would meet
    # MinIO takes a backslash for a slash here, and leaves out white space.
    r"|(?:\A|[/\\])\s*(?P<dots>\.\.?)\s*(?:[/\\]|\Z)"
    # MinIO's own files; where versitygw keeps what is not complete yet.
    r"|(?:\A|/)(?:xl\.meta|xl\.json|\.sgwtmp)(?:/|\Z)"
    # What MinIO makes of a trailing slash, and what it adds to a place in a listing.
    r"|__XLDIR__(?:/|\Z)|\[minio_cache:"
)
"""What a name in the plain form must not have, beside a slash at its end."""
_PART = re.compile(r"-p/(?P<upload>[0-9a-f]{32})/(?P<index>[0-9]{6})", re.ASCII)
_JUST_BELOW_A_DOT = "-\U0010ffff"


class Form(Protocol):
    """One way to make text of keys. `room`: bytes that the text may have."""

    def encode(self, key: str, room: int) -> str | None:
        """Return the text for a key; None if it does not fit."""

    def decode(self, text: str, headers: Mapping[str, str]) -> str | None:
        """Return the key, if `encode` made this of one."""

    def prefix(self, prefix: str, room: int) -> str | None:
        """Return what the texts of all keys that begin with `prefix` begin with.

        Others may begin with it, too. None: there can be no such key.
        """

    def floor(self, first: bytes, room: int) -> str:
        """Return a text below those of all keys that sort at or behind `first`.

        As near as possible, and such that every kind of node can go on behind it.
        """


class PlainForm:
    """The key and a space."""

    def encode(self, key: str, room: int) -> str | None:
        """See `Form`."""
        fits = len(key.encode()) < room and _has_short_segments(key)
        return f"{key} " if fits and _is_safe(key) else None

    def decode(self, text: str, headers: Mapping[str, str]) -> str | None:
        """See `Form`."""
        key = text[:-1]
        return key if text.endswith(" ") and _is_safe(key) else None

    def prefix(self, prefix: str, room: int) -> str | None:
        """See `Form`."""
        fits = len(prefix.encode()) < room and _has_short_segments(prefix)
        if not fits or _UNSAFE.search(prefix + "x"):  # nor would any other end help
            return None
        found = _UNSAFE.search(prefix)
        return prefix[: found.start("dots")] if found and found["dots"] else prefix

    def floor(self, first: bytes, room: int) -> str:
        """See `Form`."""
        text = _valid_start(first[:room])
        while found := _UNSAFE.search(text):
            if found["dots"]:
                return text[: found.start("dots")] + _JUST_BELOW_A_DOT
            text = text[: found.end() - 1]
        return text


class HexForm:
    """The key's bytes in hex, and a space."""

    def encode(self, key: str, room: int) -> str | None:
        """See `Form`."""
        text = _hex(key.encode()) + " "
        return text if len(text) <= room else None

    def decode(self, text: str, headers: Mapping[str, str]) -> str | None:
        """See `Form`."""
        try:
            key = bytes.fromhex(text.replace("/", "")).decode()
        except ValueError:
            return None
        return key if text == _hex(key.encode()) + " " else None

    def prefix(self, prefix: str, room: int) -> str | None:
        """See `Form`."""
        text = _hex(prefix.encode())
        return text if len(text) < room else None

    def floor(self, first: bytes, room: int) -> str:
        """See `Form`."""
        return _hex(first[:room])[:room]


class LongForm:
    """The beginning of the key in hex, and the hash of all of it.

    Keys with one beginning are in one directory, and not in order there.
    """

    def encode(self, key: str, room: int) -> str:
        """See `Form`."""
        data = key.encode()
        return f"{_hex(data[:_LONG_BYTES])}/{sha256(data).hexdigest()} "

    def decode(self, text: str, headers: Mapping[str, str]) -> str | None:
        """See `Form`."""
        try:
            key = urlsafe_b64decode(headers.get(KEY_HEADER, "")).decode()
        except ValueError:
            return None
        return key if text == self.encode(key, 0) else None

    def prefix(self, prefix: str, room: int) -> str:
        """See `Form`."""
        return _hex(prefix.encode()[:_LONG_BYTES])

    def floor(self, first: bytes, room: int) -> str:
        """See `Form`."""
        return _hex(first[:_LONG_BYTES])


PLAIN, HEX, LONG = PlainForm(), HexForm(), LongForm()
FORMS: Mapping[str, Form] = {"k": PLAIN, "x": HEX, "z": LONG}


def stored_name(bucket: str, key: str) -> tuple[ObjectName, dict[str, str]]:
    """Return where an object lies, and the headers that must be stored with it.

    Of a bucket and a key that were checked.
    """
    for base, form in bases(bucket):
        text = form.encode(key, room_behind(base))
        if text is not None:
            headers = key_header(key) if form is LONG else {}
            return ObjectName(BUCKET, base + text), headers
    raise ValueError("the bucket's name is too long")


def key_header(key: str) -> dict[str, str]:
    """Return the header that an object in the long form has its key in."""
    return {KEY_HEADER: urlsafe_b64encode(key.encode()).decode()}


def bases(bucket: str) -> Iterator[tuple[str, Form]]:
    """Yield what the stored names of a bucket's keys begin with, form by form."""
    for letter, form in FORMS.items():
        yield f"{_OBJECTS}{bucket}/{letter}/", form


def room_behind(base: str) -> int:
    """Return the bytes that a stored name may have behind its beginning."""
    return _MAX_NAME_BYTES - len(base)


def marker_name(bucket: str) -> ObjectName:
    """Return where the object lies that says that a bucket exists."""
    return ObjectName(BUCKET, MARKERS + bucket)


def bucket_of_marker(stored_key: str) -> str:
    """Return the bucket of whose marker this is the key."""
    return stored_key.removeprefix(MARKERS)


def blob_name(blob_id: str) -> ObjectName:
    """Return where the blob of this id lies."""
    return ObjectName(BUCKET, BLOBS + blob_id)


def part_name(upload_id: str, index: int) -> ObjectName:
    """Return where a part of a large object lies; they sort as they follow."""
    return ObjectName(BUCKET, f"{PARTS}{upload_id}/{index:06}")


def upload_of_part(name: ObjectName) -> str | None:
    """Return the id of the upload that a part is of; None: no part has this name."""
    found = _PART.fullmatch(name.key)
    return found["upload"] if found else None


def shown(name: ObjectName) -> str:
    """Return what a stored object is, on one line for people."""
    if name.bucket == BUCKET and name.key.startswith(BLOBS):
        return printable(f"blobs/{name.key.removeprefix(BLOBS)}")
    if name.bucket == BUCKET and name.key.startswith(MARKERS):
        return printable(f"bucket {bucket_of_marker(name.key)}")
    if name.bucket == BUCKET and (part := _PART.fullmatch(name.key)):
        return f"part {int(part['index'])} of upload {part['upload']}"
    bucket, key = name.bucket, name.key
    if bucket == BUCKET and key.startswith(_OBJECTS):
        owner, letter, text = (*key.removeprefix(_OBJECTS).split("/", 2), "", "")[:3]
        if letter == "z":
            start, _, digest = text.rpartition("/")
            data = bytes.fromhex(_digits(start))
            return printable(
                f"{owner}/{data.decode(errors='ignore')}... ({digest[:12]})"
            )
        if letter in FORMS:
            decoded = FORMS[letter].decode(text, {})
            bucket, key = (bucket, key) if decoded is None else (owner, decoded)
    return printable(f"{bucket}/{key}")


def _is_safe(key: str) -> bool:
    return not _UNSAFE.search(key) and not key.endswith("/")


def _has_short_segments(text: str) -> bool:
    if 4 * len(text) <= _MAX_SEGMENT_BYTES:  # a character is four bytes at most
        return True
    segments = text.split("/")
    return all(len(segment.encode()) <= _MAX_SEGMENT_BYTES for segment in segments)


def _valid_start(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        return data[: exc.start].decode()


def _hex(data: bytes) -> str:
    digits = data.hex()
    starts = range(0, len(digits), _DIGITS)
    return "/".join([digits[start : start + _DIGITS] for start in starts])


def _digits(text: str) -> str:
    """Return the hex digits of a text that may not be ours."""
    found = re.match(r"(?:[0-9a-f]{2})*", text.replace("/", ""))
    return found[0] if found else ""
