"""Lists the objects of a bucket on an S3 server, page by page.

A page has bounds, and must go on where the last one ended. Whether the keys are in
order, and inside the prefix, is judged for every kind of node by `nodes/order.py`.
Source: Amazon S3 API Reference, ListObjectsV2; what MinIO makes of it was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress

from amazin.errors import NodeProtocolError, NoSuchBucketError, NoSuchKeyError
from amazin.model.objects import ObjectInfo
from amazin.nodes.order import in_order
from amazin.nodes.s3.answers import require_success
from amazin.nodes.s3.client import S3Client
from amazin.nodes.s3.list_page import (
    PAGE_KEYS,
    LongPageError,
    Page,
    UnreadableNameError,
    read_page,
)
from amazin.nodes.transport.response import Response
from amazin.request_limits import require_wanted

Listed = tuple[str, ObjectInfo]


def list_objects(
    client: S3Client, bucket: str, prefix: str, after: str
) -> Iterator[Listed]:
    """See `Node`."""
    listing = _Listing(client, bucket)
    with suppress(NoSuchBucketError):
        yield from in_order(listing.run(prefix, after), prefix, after)


class _Listing:
    """A listing of one bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._has_metadata = True
        """Whether the server is asked for metadata; MinIO sends it."""
        self._page_keys = PAGE_KEYS
        """How many keys a page may have, so that it is not too long."""

    def run(self, prefix: str, after: str) -> Iterator[Listed]:
        """List in steps that leave nothing out.

        When MinIO continues a listing after a place, which it also does within a long
        listing, it counts the keys that it reads before that place, and may end there.
        """
        steps = [*steps_behind(prefix, after)]
        while steps:
            directory, last = steps.pop(0)
            count = 0
            for page in self._pages(directory, last):
                yield from page.entries
                last = page.entries[-1][0]
                count += len(page.entries)
            if count >= self._page_keys:
                steps = [*steps_behind(directory, last), *steps]

    def _pages(self, prefix: str, after: str) -> Iterator[Page]:
        """Yield the pages of a listing; none is empty."""
        place = ("start-after", after)
        while True:
            page = self._page(prefix, after, place)
            if page.entries:
                yield page
                after = page.entries[-1][0]
            if not page.token:
                return
            place = ("continuation-token", page.token)
            require_wanted()

    def _page(self, prefix: str, after: str, place: tuple[str, str]) -> Page:
        """Ask for a page with metadata; if it can't be read, without.

        MinIO turns the names of all metadata into XML elements, also names that can't
        be one. Only other programs than the gateway store such names.
        """
        try:
            if self._has_metadata:
                return self._ask([("prefix", prefix), place, ("metadata", "true")])
        except UnreadableNameError:
            self._has_metadata = False
            place = ("start-after", after)
        try:
            return self._ask([("prefix", prefix), place])
        except UnreadableNameError as exc:
            raise NodeProtocolError("the node's list is no XML") from exc

    def _ask(self, wanted: list[tuple[str, str]]) -> Page:
        """Ask for a page, of fewer keys if it would be too long.

        The beginning of a long one is of no use: whether its keys are escaped may be
        said at its end.
        """
        while True:
            query = [
                ("delimiter", ""),
                ("encoding-type", "url"),
                ("list-type", "2"),
                ("max-keys", str(self._page_keys)),
                *[(name, value) for name, value in wanted if value or name == "prefix"],
            ]
            try:
                return self._client.ask_slowly(self._bucket, query, self._read).wait()
            except LongPageError as exc:
                self._page_keys //= 2
                if not self._page_keys:
                    raise NodeProtocolError("the node's list is too long") from exc
            require_wanted()

    def _read(self, response: Response) -> Page:
        with closing(response):
            try:
                require_success(response)
            except NoSuchKeyError as exc:
                raise NodeProtocolError("the node has no list of a bucket") from exc
            if response.headers.get("content-encoding", "identity") != "identity":
                raise NodeProtocolError("the node's list is encoded, unasked")
            return read_page(response.chunks(self._client.limits.transfer))


def steps_behind(prefix: str, after: str) -> Iterator[tuple[str, str]]:
    """Yield (prefix, after) of listings that together list the keys behind `after`.

    The first lists the rest of its directory, the next the rest of the directory above,
    and so on up to the prefix. Each starts behind the previous directory: at `a0`
    behind `a/`. (So it leaves out a key `a0` itself; a gateway stores none there.)
    """
    if not after.startswith(prefix):
        if after.encode() < prefix.encode():
            yield prefix, after
        return
    while (end := after.rfind("/") + 1) > len(prefix):
        yield after[:end], after
        after = after[: end - 1] + "0"  # the character after the slash
    yield prefix, after
