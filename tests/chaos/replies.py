"""Judges the answers to the clients of the chaos test, byte by byte.

An answer is right, an honest error (which says nothing), or wrong; a message says how.
Source: RFC 9110 sections 14 and 15 for ranges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.history import ABSENT, Version

TOKEN_HEADER = "X-Meta-Chaos-Token"
"""Carries a version's token in the upload's metadata: an empty body can't."""
HONEST_ERRORS = frozenset({502, 503, 507})


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ByteRange:
    """What `Range` asks for; without `first` it is the last `last` bytes."""

    first: int | None
    last: int | None

    def __str__(self) -> str:
        first, last = ("" if n is None else n for n in (self.first, self.last))
        return f"bytes={first}-{last}"

    def within(self, size: int) -> tuple[int, int] | None:
        """Return the first byte and the one after the last; None: unsatisfiable."""
        if self.first is None:
            return max(0, size - (self.last or 0)), size
        if self.first >= size:
            return None
        return self.first, size if self.last is None else min(size, self.last + 1)


def read_problem(
    allowed: Sequence[Version],
    reply: Reply,
    *,
    is_head: bool = False,
    byte_range: ByteRange | None = None,
) -> str:
    """Return what is wrong with the answer to a GET or HEAD; empty if nothing is."""
    if reply.status in HONEST_ERRORS:
        return error_problem(reply)
    if reply.status == 404:
        return "" if ABSENT in allowed else "404, but the key can't be absent"
    if reply.status == 416 and byte_range:
        return _unsatisfied_problem(allowed, reply, byte_range)
    if reply.status not in (200, 206):
        return f"status {reply.status}"
    token = reply.headers.get(TOKEN_HEADER, "")
    version = next((known for known in allowed if token and known.token == token), None)
    if version is None:
        return f"{token or 'no token'}: superseded, or never written"
    return _mismatch(version, reply, is_head, byte_range)


def upload_problem(version: Version, key: str, reply: Reply) -> str:
    """Return what is wrong with the answer to a PUT; empty if nothing is."""
    if reply.status != 201:
        return error_problem(reply)
    info = json.loads(reply.body)
    found = info.get("key"), info.get("size"), info.get("etag")
    if found != (key, version.size, version.etag):
        return f"201 that describes something else: {info}"
    return ""


def delete_problem(reply: Reply) -> str:
    """Return what is wrong with the answer to a DELETE; empty if nothing is."""
    if reply.status == 204:
        return "204 with a body" if reply.body else ""
    return error_problem(reply)


def error_problem(reply: Reply) -> str:
    """Return what is wrong with an error; empty if it is one that may be given."""
    if reply.status not in HONEST_ERRORS:
        return f"status {reply.status}"
    if reply.status == 503 and "Retry-After" not in reply.headers:
        return "503 without Retry-After"
    return ""


def _unsatisfied_problem(
    allowed: Sequence[Version], reply: Reply, byte_range: ByteRange
) -> str:
    told = reply.headers.get("Content-Range")
    sizes = {version.size for version in allowed if version is not ABSENT}
    if any(
        told == f"bytes */{size}" and byte_range.within(size) is None for size in sizes
    ):
        return ""
    return f"416 to {byte_range}, Content-Range: {told}, but sizes are {sizes}"


def _mismatch(
    version: Version, reply: Reply, is_head: bool, byte_range: ByteRange | None
) -> str:
    """Return how an answer differs from what its token promises."""
    span = byte_range.within(version.size) if byte_range else (0, version.size)
    if span is None:
        return f"{reply.status} to {byte_range} of {version}"
    first, end = span
    headers = {"ETag": f'"{version.etag}"', "Content-Length": str(end - first)}
    status = 200
    if byte_range and version.size:
        status = 206
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{version.size}"
    if reply.status != status:
        return f"{reply.status} instead of {status} for {version}"
    for name, value in headers.items():
        if reply.headers.get(name) != value:
            return f"{name}: {reply.headers.get(name)} instead of {value}"
    expected = b"" if is_head else version.body()[first:end]
    return "" if reply.body == expected else _torn(version, expected, reply.body)


def _torn(version: Version, expected: bytes, found: bytes) -> str:
    place = next(
        (n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    return (
        f"a torn body of {version}: {len(found)} of {len(expected)} bytes, "
        f"from {place} on {found[place : place + 40]!r}"
    )
