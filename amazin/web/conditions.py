"""Checks preconditions and ranges, because nodes get the complex ones wrong.

Source: RFC 9110 sections 13 (conditional requests) and 14 (range requests).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from amazin.errors import HTTPError
from amazin.model.objects import ObjectInfo
from amazin.web.dates import parse_date

CONDITIONAL_HEADERS = (
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
)
_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_TAG_LIST = re.compile(
    r'[ \t,]*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
    r'(?:[ \t]*,[ \t,]*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*")*[ \t,]*'
)
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,999})-([0-9]{0,999})[ \t]*", re.IGNORECASE)


class NotModified(Exception):  # noqa: N818 - a response, not an error
    """The client's copy is current: 304. Carries the info of the object."""

    def __init__(self, info: ObjectInfo) -> None:
        super().__init__()
        self.info = info


@dataclass(frozen=True, slots=True)
class EntityTag:
    """An ETag in a condition."""

    value: str
    is_weak: bool = False


def parse_tags(text: str) -> list[EntityTag] | None:
    """Parse a list of entity tags; None stands for `*`.

    Raises: HTTPError 400, for any other text.
    """
    if text.strip() == "*":
        return None
    if not _TAG_LIST.fullmatch(text):
        message = 'A condition takes * or ETags in quotes, like "abc", "def"'
        raise HTTPError(400, "InvalidCondition", message)
    return [EntityTag(tag, bool(weak)) for weak, tag in _ENTITY_TAG.findall(text)]


class Conditions:
    """The conditional headers of one request."""

    def __init__(self, header: Callable[[str], str | None]) -> None:
        self._header = header

    def __bool__(self) -> bool:
        return any(self._header(name) is not None for name in CONDITIONAL_HEADERS)

    def check(self, info: ObjectInfo) -> None:
        """Check the conditions of GET or HEAD, in the order of RFC 9110 section 13.2.2.

        Raises:
            NotModified: the client has this version.
            HTTPError: 412, or 400 if a list of tags is malformed.
        """
        if (text := self._header("If-Match")) is not None:
            if not self._matches(text, info, weakly=False):
                raise precondition_failed()
        elif (date := self._date("If-Unmodified-Since")) is not None and (
            unchanged_since(info) > date
        ):
            raise precondition_failed()
        if (text := self._header("If-None-Match")) is not None:
            if self._matches(text, info, weakly=True):
                raise NotModified(info)
        elif (date := self._date("If-Modified-Since")) is not None and (
            unchanged_since(info) <= date
        ):
            raise NotModified(info)

    def _date(self, name: str) -> int | None:
        text = self._header(name)
        return None if text is None else parse_date(text)

    @staticmethod
    def _matches(text: str, info: ObjectInfo, *, weakly: bool) -> bool:
        tags = parse_tags(text)
        if tags is None:
            return True
        return any(
            tag.value == info.etag and (weakly or not tag.is_weak) for tag in tags
        )

    def for_upload(self) -> tuple[str | None, bool]:
        """Return (if_match, if_absent) of a conditional PUT.

        Raises: HTTPError 501, for conditions that nodes can't check atomically; 412 for
            an empty ETag, which no object has.
        """
        match, none_match = self._header("If-Match"), self._header("If-None-Match")
        dated = ("If-Modified-Since", "If-Unmodified-Since")
        if any(self._header(name) is not None for name in dated):
            raise unsupported_condition()
        if match is None and none_match is None:
            return None, False
        if match is None and parse_tags(none_match or "") is None:
            return None, True
        tags = parse_tags(match or "") if none_match is None else None
        if not tags or len(tags) > 1 or tags[0].is_weak:
            raise unsupported_condition()
        if not tags[0].value:
            raise precondition_failed()
        return tags[0].value, False


def selected_range(
    header: Callable[[str], str | None], info: ObjectInfo
) -> tuple[int, int] | None:
    """Return the first and last byte that `Range` requests; None: the whole object.

    Several ranges, other units and malformed ranges are ignored, as RFC 9110 allows. So
    are a range whose `If-Range` doesn't hold, and the last bytes of an empty object.

    Raises: HTTPError 416 with the object's size.
    """
    match = _RANGE.fullmatch(header("Range") or "")
    if not match or match.group(1, 2) == ("", "") or not _if_range(header, info):
        return None
    first_text, last_text = match.groups()
    if first_text and last_text and int(last_text) < int(first_text):
        return None
    if first_text:
        first = int(first_text)
        last = min(int(last_text), info.size - 1) if last_text else info.size - 1
    else:
        if not info.size and int(last_text):
            return None
        first, last = max(0, info.size - int(last_text)), info.size - 1
    if first >= info.size:
        raise HTTPError(
            416,
            "InvalidRange",
            f"The object has {info.size} bytes",
            [("Content-Range", f"bytes */{info.size}")],
        )
    return first, last


def _if_range(header: Callable[[str], str | None], info: ObjectInfo) -> bool:
    text = header("If-Range")
    if text is None:
        return True
    tag = _ENTITY_TAG.fullmatch(text.strip())
    if tag:
        return not tag[1] and tag[2] == info.etag
    return parse_date(text) == unchanged_since(info)


def modified_seconds(info: ObjectInfo) -> int:
    """Return when the object was stored, in Unix seconds."""
    return info.modified_ns // 10**9


# A date has whole seconds, and an object may be stored twice within one. So a second
# stands for a version only once it is over: until then Last-Modified is an earlier one,
# and whoever has it later asked when no other version of that second could come. That
# holds as long as the gateways' clocks agree. Source: RFC 9110 section 8.8.2.2.


def last_modified(info: ObjectInfo) -> int:
    """Return Last-Modified in Unix seconds: never now, and never later than Date."""
    return min(info.modified_ns // 10**9, int(time.time()) - 1)


def unchanged_since(info: ObjectInfo) -> int:
    """Return the Unix second that a condition's date is compared with."""
    seconds = info.modified_ns // 10**9
    return seconds if seconds < int(time.time()) else seconds + 1


def precondition_failed() -> HTTPError:
    """Return the error for a condition that doesn't hold."""
    message = "The object is not in the state that the request's condition names"
    return HTTPError(412, "PreconditionFailed", message)


def unsupported_condition() -> HTTPError:
    """Return the error for a condition that can't be checked atomically."""
    message = (
        "A conditional upload takes If-None-Match: * or If-Match with one strong ETag; "
        "a conditional delete is not supported"
    )
    return HTTPError(501, "NotSupported", message)
