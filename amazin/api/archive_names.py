"""The names that objects have in an archive: safe to unpack, and decodable. Pure.

A name is the key, but for what an extractor could read as a path out of its folder, or
could not store. Such characters are percent-encoded. A segment of more than 255 bytes
is split into several; all but the last one end in `%+`.

So two objects never get the same name. Without each `%+/`, and decoded, it is the key.
"""

from __future__ import annotations

import re

LONGEST_SEGMENT = 255
"""In bytes: what file systems allow."""
CONTINUED = "%+"
"""The end of a part that goes on in the next segment."""
_PART_BYTES = LONGEST_SEGMENT - len(CONTINUED) - 2
"""The start of a part may be encoded, which takes 2 bytes more."""
_HOSTILE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\\]"  # control characters, and Windows' separator
    r"|%(?=[0-9A-Fa-f]{2}|\+(?:/|\Z))"  # so that decoding gives the key
    r"|(?:(?<=/)|\A)/|/\Z"  # an empty segment: an absolute path, or a folder
    r"|(?:(?<=/)|\A)[. ](?=[. ]*(?:/|\Z))"  # `..`, and what Windows reads as `..`
    r"|(?<=/[A-Za-z]):|(?<=\A[A-Za-z]):"  # a drive
)
_UNIT = re.compile(r"%[0-9A-F]{2}|.", re.DOTALL)
_HOSTILE_START = re.compile(r"[. ]|[A-Za-z]:")


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
        if encoded := joints | hostile:
            key = "".join(
                escaped(char) if at in encoded else char for at, char in enumerate(key)
            )
        if len(key.encode()) <= LONGEST_SEGMENT:
            return key
        return "/".join(map(split, key.split("/")))


def escaped(char: str) -> str:
    """Return a character in percent-encoding."""
    return "".join(f"%{byte:02X}" for byte in char.encode())


def split(segment: str) -> str:
    """Return a segment, already encoded, as one or several that are short enough."""
    if len(segment.encode()) <= LONGEST_SEGMENT:
        return segment
    parts, size = [""], 0
    for unit in _UNIT.findall(segment):
        size += len(unit.encode())
        if size > _PART_BYTES:
            parts.append("")
            size = len(unit.encode())
        parts[-1] += unit
    return f"{CONTINUED}/".join([parts[0], *map(with_safe_start, parts[1:])])


def with_safe_start(part: str) -> str:
    """Return a part of a segment that is no `..`, and names no drive."""
    return escaped(part[0]) + part[1:] if _HOSTILE_START.match(part) else part
