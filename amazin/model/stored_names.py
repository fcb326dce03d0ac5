"""The names under which nodes store the objects of buckets. Pure.

All of them are keys in the nodes' bucket `store` that begin with `-`; no id of the
object API does. Each stored name belongs to one key only. Names of one form sort as
their keys do, by UTF-8 bytes. No stored name is a directory above another one (MinIO
would hide what is below it, versitygw can't store both), and every kind of node accepts
all of them. The names are a storage format: `tests/model/test_stored_names.py` pins it.

The forms, behind `-o/<bucket>/`; the first one that fits is used:
    k/<key>                         the key itself
    x/<hex>                         in directories of 240 digits
    z/<hex of 360 bytes>/<SHA-256>  the key itself is stored as a header
Each name ends in a space, which no directory does.

Source: Amazon S3 User Guide, "General purpose buckets naming rules". What MinIO and
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
"""Prefix of a bucket's name in the key of its marker, whose presence makes it exist."""
BLOBS = "-h/"
"""Prefix of a blob's id in the key of the blob."""
PARTS = "-p/"
"""Prefix of an upload's id in the keys of its parts."""
RESULTS = "-c/"
"""Prefix of the keys of what repair has found."""
CHECK_NAME = ObjectName(BUCKET, f"{RESULTS}check")
"""What the last check of all copies has found."""
REPAIR_NAME = ObjectName(BUCKET, f"{RESULTS}repair")
"""What repair does and has found."""

_OBJECTS = "-o/"
_MAX_NAME_BYTES = 1024
_MAX_SEGMENT_BYTES = 254
"""255 with the space at the end."""
_DIGITS = 240
_LONG_BYTES = 360
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f\ufffe\uffff]"  # versitygw lists the latter two as U+FFFD
    r"|\A/|//"
    r"| /"  # the file of `a ` would be the directory of `a /b`
    # MinIO reads a backslash as a slash here, and ignores white space.
    r"|(?:\A|[/\\])\s*(?P<dots>\.\.?)\s*(?:[/\\]|\Z)"
    # MinIO's own files; the folder in which versitygw keeps incomplete uploads.
    r"|(?:\A|/)(?:xl\.meta|xl\.json|\.sgwtmp)(?:/|\Z)"
    # MinIO's suffix for a trailing slash, and its suffix for listing markers.
    r"|__XLDIR__(?:/|\Z)|\[minio_cache:"
)
"""What a key in the plain form must not contain, besides a slash at its end."""
_PART = re.compile(r"-p/(?P<upload>[0-9a-f]{32})/(?P<index>[0-9]{6})", re.ASCII)
_JUST_BELOW_A_DOT = "-\U0010ffff"


class Form(Protocol):
    """One way to turn keys into text. `room`: how many bytes the text may have."""

    def encode(self, key: str, room: int) -> str | None:
        """Return the text for a key; None if it does not fit."""

    def decode(self, text: str, headers: Mapping[str, str]) -> str | None:
        """Return the key, if `encode` made this text of a key; else None."""

    def prefix(self, prefix: str, room: int) -> str | None:
        """Return a prefix of the texts of all keys that begin with `prefix`.

        Texts of other keys may begin with it, too. None: this form has no such key.
        """

    def floor(self, first: bytes, room: int) -> str:
        """Return a text that sorts below the texts of all keys from `first` on.

        It is as close to them as possible, and every kind of node can list from it.
        """


class PlainForm:
    """The key, followed by a space."""

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
        # If an `x` behind it does not make it safe, no other end does.
        if not fits or _UNSAFE.search(prefix + "x"):
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
    """The key's bytes in hex, followed by a space."""

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
    """The beginning of the key in hex, and the hash of the whole key.

    Keys with the same beginning are in one directory, where they are not in order.
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

    def behind(self, first: bytes) -> bytes:
        """Return the lowest bytes behind all keys with the beginning of this one.

        `first` has at least as many bytes as keys in one directory have in common.
        """
        last = first[_LONG_BYTES - 1]  # never 255 in UTF-8
        return first[: _LONG_BYTES - 1] + bytes([last + 1])


PLAIN, HEX, LONG = PlainForm(), HexForm(), LongForm()
FORMS: Mapping[str, Form] = {"k": PLAIN, "x": HEX, "z": LONG}


def stored_name(bucket: str, key: str) -> tuple[ObjectName, dict[str, str]]:
    """Return an object's name on the nodes, and headers to be stored with it.

    Bucket and key must have been checked.
    """
    for base, form in bases(bucket):
        text = form.encode(key, room_behind(base))
        if text is not None:
            headers = key_header(key) if form is LONG else {}
            return ObjectName(BUCKET, base + text), headers
    raise ValueError("the bucket's name is too long")


def key_header(key: str) -> dict[str, str]:
    """Return the header that holds the key of an object in the long form."""
    return {KEY_HEADER: urlsafe_b64encode(key.encode()).decode()}


def bases(bucket: str) -> Iterator[tuple[str, Form]]:
    """Yield, form by form, the prefix that the stored names of a bucket have."""
    for letter, form in FORMS.items():
        yield f"{_OBJECTS}{bucket}/{letter}/", form


def room_behind(base: str) -> int:
    """Return how many bytes a stored name may have behind this prefix."""
    return _MAX_NAME_BYTES - len(base)


def marker_name(bucket: str) -> ObjectName:
    """Return the name of a bucket's marker; while it exists, the bucket does."""
    return ObjectName(BUCKET, MARKERS + bucket)


def bucket_of_marker(stored_key: str) -> str:
    """Return the bucket that a marker's key stands for."""
    return stored_key.removeprefix(MARKERS)


def blob_name(blob_id: str) -> ObjectName:
    """Return the stored name of the blob with this id."""
    return ObjectName(BUCKET, BLOBS + blob_id)


def part_name(upload_id: str, index: int) -> ObjectName:
    """Return the stored name of a part of a large object; names sort by `index`."""
    return ObjectName(BUCKET, f"{PARTS}{upload_id}/{index:06}")


def upload_of_part(name: ObjectName) -> str | None:
    """Return the id of the upload that a part belongs to; None: it is no part."""
    found = _PART.fullmatch(name.key)
    return found["upload"] if found else None


def shown(name: ObjectName) -> str:
    """Return a description of a stored object for people, on one line."""
    if name.bucket == BUCKET and name.key.startswith(BLOBS):
        return printable(f"blobs/{name.key.removeprefix(BLOBS)}")
    if name == CHECK_NAME:
        return "the result of the last check"
    if name == REPAIR_NAME:
        return "the report of repair"
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
    if 4 * len(text) <= _MAX_SEGMENT_BYTES:  # a character has four bytes at most
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
    """Return the leading hex digits; the text may come from another program."""
    found = re.match(r"(?:[0-9a-f]{2})*", text.replace("/", ""))
    return found[0] if found else ""
