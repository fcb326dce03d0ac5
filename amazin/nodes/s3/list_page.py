"""One page of a listing as S3 servers write it: XML in, names and infos out.

What a server sends is read in pieces, and not trusted: a page has bounds, and may
declare no entities. Source: Amazon S3 API Reference, ListObjectsV2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree.ElementTree import ParseError, XMLParser
from xml.parsers.expat import errors as xml_errors

from amazin.blocking import pause
from amazin.errors import NodeError, NodeProtocolError
from amazin.model.objects import ObjectInfo
from amazin.nodes.s3.answers import read_label, stored_headers

PAGE_KEYS = 1000
"""The number of keys that a page may have; no server sends more."""
PAGE_BYTES = 2 * 1024 * 1024
"""The size that a page may have; for a longer one fewer keys are asked for."""
_PIECE_BYTES = 16 * 1024
"""So much is parsed at once, then it is the turn of other requests."""
_MAX_DEPTH = 8
_UNREADABLE_NAME = xml_errors.codes[xml_errors.XML_ERROR_INVALID_TOKEN]
_ENTRY = ["ListBucketResult", "Contents"]
_METADATA = [*_ENTRY, "UserMetadata"]


class UnreadableNameError(NodeError):
    """The page is not XML, perhaps because of a metadata name that is no XML name."""


class LongPageError(NodeError):
    """The page is longer than `PAGE_BYTES`."""


@dataclass
class Page:
    """Keys as the server has them, perhaps escaped, with what it tells about each."""

    entries: list[tuple[str, ObjectInfo]] = field(default_factory=list)
    token: str = ""
    """Asks for the next page; empty: there is none."""


def read_page(chunks: Iterable[bytes]) -> Page:
    """Read a page; what is longer is not read to its end.

    Raises: NodeProtocolError, UnreadableNameError, LongPageError, that of `chunks`.
    """
    builder = PageBuilder()
    parser = XMLParser(target=builder)
    size = 0
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), _PIECE_BYTES):
                parser.feed(chunk[start : start + _PIECE_BYTES])
                pause()
            size += len(chunk)
            if size > PAGE_BYTES:
                raise LongPageError("the node's list is too long")
        parser.close()
    except ParseError as exc:
        if exc.code == _UNREADABLE_NAME:
            raise UnreadableNameError("the node's list has an unreadable name") from exc
        raise NodeProtocolError("the node's list is no XML") from exc
    return builder.page()


class PageBuilder:
    """Makes a page of the parts of an XML document, as `XMLParser` finds them."""

    def __init__(self) -> None:
        self._page = Page()
        self._path: list[str] = []
        """The names of the elements that are open."""
        self._text: list[str] = []
        self._facts: dict[str, str] = {}
        """What is said of the whole list, by element."""
        self._fields: dict[str, str] = {}
        """What is said of the current object, by element."""
        self._metadata: dict[str, str] = {}

    def doctype(self, name: str, public: str, system: str) -> None:
        """Refuse what only a document with declarations has: it could grow."""
        raise NodeProtocolError("the node's list has a document type")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        self._path.append(tag.rpartition("}")[2])
        self._text.clear()
        if self._path[0] != _ENTRY[0] or len(self._path) > _MAX_DEPTH:
            raise NodeProtocolError("the node sent no list of objects")

    def data(self, text: str) -> None:
        """Take some of an element's text."""
        self._text.append(text)

    def end(self, tag: str) -> None:
        """End an element."""
        name, text = self._path.pop(), "".join(self._text)
        self._text.clear()
        if self._path == _ENTRY:
            self._fields[name] = text
        elif self._path == _METADATA:
            self._metadata[name.lower()] = text
        elif self._path == _ENTRY[:1] and name == _ENTRY[1]:
            self._add_entry()
        elif self._path == _ENTRY[:1]:
            self._facts[name] = text

    def close(self) -> None:
        """See `XMLParser`; the document is complete."""

    def _add_entry(self) -> None:
        if len(self._page.entries) == PAGE_KEYS:
            raise NodeProtocolError("the node's list has more keys than were asked for")
        info = read_info(self._fields, self._metadata)
        self._page.entries.append((self._fields.get("Key", ""), info))
        self._fields, self._metadata = {}, {}

    def page(self) -> Page:
        """Return the complete page. Raises: NodeProtocolError."""
        if self._facts.get("IsTruncated", "").lower() == "true":
            self._page.token = self._facts.get("NextContinuationToken", "")
            if not self._page.token or not self._page.entries:
                raise NodeProtocolError("the node's list doesn't go on")
        # Servers say so before the keys or behind them.
        if self._facts.get("EncodingType") == "url":
            entries = self._page.entries
            self._page.entries = [(unquote_plus(key), info) for key, info in entries]
        return self._page


def read_info(fields: dict[str, str], metadata: dict[str, str]) -> ObjectInfo:
    """Return what a list says about an object, which may be incomplete.

    `metadata` has names in lower case. Raises: NodeProtocolError.
    """
    label = read_label(metadata)
    try:
        size = int(fields.get("Size", ""))
        modified = datetime.fromisoformat(fields.get("LastModified", ""))
        seconds = modified.timestamp()
    except (ValueError, OverflowError) as exc:
        raise NodeProtocolError("the node's list can't be understood") from exc
    if size < 0 or not fields.get("Key"):
        raise NodeProtocolError("the node's list can't be understood")
    modified_ns = label.stamp.nanoseconds if label else int(seconds * 10**9)
    etag = fields.get("ETag", "").replace('"', "")
    return ObjectInfo(size, etag, modified_ns, label, stored_headers(metadata))
