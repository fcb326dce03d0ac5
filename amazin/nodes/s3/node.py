"""A node that speaks S3: MinIO, versitygw and others.

All requests use our own connections (`transport/`), and that for a new bucket, which is
rare, also the MinIO SDK.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from amazin.errors import NodeProtocolError, NoSuchKeyError, PreconditionError
from amazin.model.headers import content_range
from amazin.model.node_specs import NodeSpec, TimeLimits
from amazin.model.objects import (
    BUCKET,
    ROSTER_NAME,
    Label,
    ObjectInfo,
    ObjectName,
    Stamp,
)
from amazin.nodes.interface import NodeObject, Pending, Upload
from amazin.nodes.s3.answers import (
    metadata_lines,
    read_info,
    require_success,
)
from amazin.nodes.s3.client import PROBE_KEY, S3Client
from amazin.nodes.s3.listing import list_objects
from amazin.nodes.s3.uploads import Put, StreamedUpload, send_whole
from amazin.nodes.transport.response import Response

TRIAL_NAME = ROSTER_NAME._replace(key="room")
TRIAL_BYTES = 2**16
NO_ETAG = "0" * 32
"""No object has it: nobody knows bytes with this MD5."""


class S3Node:
    """One S3-compatible server; a `TriedNode`."""

    trial_seconds = 30.0

    def __init__(self, spec: NodeSpec, limits: TimeLimits) -> None:
        """Take the node's address and keys; nothing is connected yet."""
        self.name = spec.name
        self._client = S3Client(spec, limits)

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> Pending[NodeObject]:
        """See `Node`."""
        headers = []
        if byte_range:
            headers.append(("Range", "bytes={}-{}".format(*byte_range)))
        if if_match:
            headers.append(quoted_match(if_match))
        timeout = self._client.limits.transfer

        def interpret(response: Response) -> NodeObject:
            return S3Object(response, byte_range, if_match, timeout)

        return self._client.ask("GET", name, interpret, headers)

    def start_head(self, name: ObjectName) -> Pending[ObjectInfo]:
        """See `Node`.

        A response to HEAD has no body, so the 404 of some servers doesn't say what is
        missing: it may be the user of our access key. In that case a GET follows.
        """

        def interpret(response: Response) -> ObjectInfo:
            try:
                return read_info(response)
            except NoSuchKeyError as exc:
                if str(exc):
                    raise
            return self._client.ask("GET", name, read_info_only).wait()

        return self._client.ask("HEAD", name, interpret)

    def start_put(
        self,
        name: ObjectName,
        data: bytes,
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> Pending[ObjectInfo]:
        """See `Node`."""
        put = self._put(name, len(data), label, headers, if_match, if_absent)
        is_repeatable = keeps_newer or not put.is_conditional
        return send_whole(self._client, put, data, is_repeatable=is_repeatable)

    def start_upload(
        self,
        name: ObjectName,
        length: int,
        label: Label,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        keeps_newer: bool = False,
    ) -> Upload:
        """See `Node`."""
        put = self._put(name, length, label, headers, if_match, if_absent)
        return StreamedUpload(self._client, name.bucket, put)

    def _put(
        self,
        name: ObjectName,
        length: int,
        label: Label,
        headers: Mapping[str, str],
        if_match: str | None,
        if_absent: bool,
    ) -> Put:
        metadata, native = metadata_lines(headers, label)
        native.append(("Content-Length", str(length)))
        if if_absent:
            native.append(("If-None-Match", "*"))
        if if_match:
            native.append(quoted_match(if_match))
        head = self._client.request_head("PUT", name, native, metadata)
        return Put(head, length, label, is_conditional=if_absent or bool(if_match))

    def start_delete(
        self, name: ObjectName, *, if_match: str | None = None
    ) -> Pending[None]:
        """See `Node`."""

        def interpret(response: Response) -> None:
            with suppress(NoSuchKeyError):
                require_success(response, is_conditional=bool(if_match))

        headers = [quoted_match(if_match)] if if_match else []
        return self._client.ask("DELETE", name, interpret, headers)

    def make_bucket(self, bucket: str) -> None:
        """See `Node`."""
        self._client.make_bucket(bucket)

    def start_check(self) -> Pending[object]:
        """See `Node`."""
        return self._client.probe()

    def start_trial(self) -> Pending[object]:
        """See `TriedNode`."""
        return Trial(self)

    def list_objects(
        self, bucket: str, prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """See `Node`."""
        return list_objects(self._client, bucket, prefix, after)

    def close(self) -> None:
        """See `Node`."""
        self._client.pool.close()

    def __repr__(self) -> str:
        return f"<S3Node {self.name}: {self._client!r}>"


class Trial:
    """An upload by which a node shows whether it stores: S3 has no other way.

    First one to the bucket of the data under a condition that can't hold, so that it
    leaves nothing: it shows what the keys permit. Then one that is removed at once, in
    the system's bucket, under the same name each time: it shows whether there is room.
    """

    def __init__(self, node: S3Node) -> None:
        self._node = node
        self._first = self._put(ObjectName(BUCKET, PROBE_KEY), b"", NO_ETAG)

    def is_ready(self, timeout: float) -> bool:
        """See `Pending`."""
        return self._first.is_ready(timeout)

    def wait(self) -> None:
        """See `Pending`."""
        with suppress(PreconditionError):
            self._first.wait()
            # The server ignores If-Match.
            self._remove(ObjectName(BUCKET, PROBE_KEY))
        self._put(TRIAL_NAME, bytes(TRIAL_BYTES)).wait()
        self._remove(TRIAL_NAME)

    def cancel(self) -> None:
        """See `Pending`."""
        self._first.cancel()

    def _put(
        self, name: ObjectName, data: bytes, if_match: str | None = None
    ) -> Pending[ObjectInfo]:
        label = Label(Stamp(time.time_ns(), 0))
        # Those of the class: what replaces the node's own would count them, too.
        return S3Node.start_put(self._node, name, data, label, {}, if_match=if_match)

    def _remove(self, name: ObjectName) -> None:
        S3Node.start_delete(self._node, name).wait()


def quoted_match(etag: str) -> tuple[str, str]:
    """Return the header that requests exactly this version."""
    return ("If-Match", f'"{etag}"')


def read_info_only(response: Response) -> ObjectInfo:
    """Read an object's info, not its bytes. Raises: as `read_info`."""
    try:
        return read_info(response)
    finally:
        response.close()


class S3Object:
    """See `NodeObject`: a download whose body owns the connection."""

    def __init__(
        self,
        response: Response,
        byte_range: tuple[int, int] | None,
        if_match: str | None,
        timeout: float,
    ) -> None:
        self._response = response
        self._timeout = timeout
        self.info = read_info(response, is_conditional=bool(if_match))
        if byte_range:
            self._check_range(*byte_range)
        elif response.status != 200:
            raise NodeProtocolError("the node answered with a part, unasked")
        if if_match and self.info.etag != if_match:
            raise NodeProtocolError("the node ignored If-Match")

    def _check_range(self, first: int, last: int) -> None:
        found = content_range(self._response.headers)
        if self._response.status != 206 or not found:
            raise NodeProtocolError("the node ignored the range")
        length = self._response.length
        if found[:2] != (first, last) or length != last - first + 1:
            raise NodeProtocolError("the node sent another range")

    def read(self) -> bytes:
        """See `NodeObject`."""
        return self._response.read(self._timeout)

    def close(self) -> None:
        """See `NodeObject`."""
        self._response.close()
