"""Every exception that the project raises on purpose, in one tree.

There are two audiences: `HTTPError` is what a client sees, `NodeError` is what went
wrong with one storage node. Node responses that are no failure of the node (no such
object, a precondition that does not hold) are exceptions too, outside `NodeError`.
"""

from __future__ import annotations

from collections.abc import Sequence


class GatewayError(Exception):
    """The root of all errors of this project."""


class SettingsError(GatewayError):
    """At start: a setting has an unusable value; the message names the setting."""


class DiscoveryError(GatewayError):
    """The source of the list of nodes did not answer, or sent an invalid answer.

    Clients may see the message: it contains no path, address or secret. `detail` is the
    same for operators, with addresses; empty: the message says it all.
    """

    detail = ""

    def __init__(self, message: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class HTTPError(GatewayError):
    """A request is refused: `status`, a stable `code`, a message for the client."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = tuple(headers)


class NoNodesError(GatewayError):
    """Too few nodes are known to serve any request; the message says why."""


class ConflictError(GatewayError):
    """An object was changed repeatedly while it was being read."""


class NotSupportedError(GatewayError):
    """The request is valid, but this cluster can't perform it safely."""


class DifferentContentError(GatewayError):
    """Other bytes are stored under a name whose bytes never change."""


class InvalidIdError(GatewayError):
    """No blob can have this id; the message says why."""


class BucketNotFoundError(GatewayError):
    """The cluster has no such bucket."""


class BucketNotEmptyError(GatewayError):
    """The bucket holds objects, so it can't be removed."""


class InvalidHeaderError(GatewayError):
    """A header has characters that nodes don't keep; the message names it."""


class MetadataTooLargeError(GatewayError):
    """The headers to be stored exceed what nodes accept; the message has the limit."""


class SignatureError(GatewayError):
    """A signed URL is not valid: a message for people, a stable `code` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BodyError(GatewayError):
    """The client's request body could not be read to its end."""


class DigestError(BodyError):
    """The client's bytes are not those that it says they are; the message names it."""


class LateError(GatewayError):
    """The time limit for the whole request has passed, or its body stood still."""


class ClientGoneError(LateError):
    """The client closed its connection before the response was complete."""


class NodeError(GatewayError):
    """A node gave no usable answer; whether it did the work is unknown."""

    node = ""
    """The stable name of the node, once it is known; for logs."""
    key = ""
    """Which object it was about, in a response with many of them; for logs."""
    state = "failing"
    """The state of a node that fails like this, in words: the only place for them."""


class NodeUnreachableError(NodeError):
    """The request was not sent: refused, stopped, connect timeout, or node skipped.

    For a skipped node `state` is that of the failure after which it is skipped.
    """

    state = "unreachable"


class NodeTimeoutError(NodeError):
    """The node sent nothing for longer than its time limit."""

    state = "unreachable"


class NodeBusyError(NodeError):
    """The node has too much to do, or waited for others too long; this will pass."""

    state = "busy"


class NodeAccessError(NodeError):
    """The node refused our credentials (401 or 403)."""

    state = "wrong keys"


class NoSuchBucketError(NodeError):
    """The node has no such bucket: its disk was replaced, or never held anything."""

    state = "lost"


class NodeUnreadableError(NodeError):
    """The node answers, and permits us not even to read (AccessDenied, EACCES)."""

    state = "no permission"


class NodeRefusalError(NodeError):
    """The node can be read, but does not store, or not even delete, anything now."""


class NodeFullError(NodeRefusalError):
    """The node has no space left (507; ENOSPC or EDQUOT in a folder)."""

    state = "full"


class NodeReadOnlyError(NodeRefusalError):
    """The node's disk can't be written to (EROFS in a folder)."""

    state = "read-only"


class NodePermissionError(NodeRefusalError):
    """The node knows us, and does not permit this (AccessDenied, EACCES, EPERM)."""

    state = "no permission"


class LostCopyError(NodeError):
    """The bytes of the node's copy are damaged or gone. It still knows the version."""

    is_news = False
    """Whether this was not known before."""


class RosterError(GatewayError):
    """The stored roster can't be read, or can't be changed as requested."""


class RepairError(GatewayError):
    """A repair can't start, or can't continue; the message says why."""


class NodeProtocolError(NodeError):
    """The node's response is not valid HTTP or S3."""


class NoSuchKeyError(GatewayError):
    """The node answered that it holds no such object."""


class PreconditionError(GatewayError):
    """The node answered that `if_match` or `if_absent` does not hold (412)."""


class ClientError(GatewayError):
    """For our programs that call a gateway: the gateway did not answer as expected.

    `retry_after_seconds`: how long to wait before a retry; None: a retry is of no use.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RefusedError(ClientError):
    """A gateway answered with an error: `status`, and its `code`, if it has one.

    `request` is the id of the request, which the message has, too; "": unknown.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        retry_after_seconds: float | None = None,
        request: str = "",
    ) -> None:
        super().__init__(message, retry_after_seconds)
        self.status = status
        self.code = code
        self.request = request


class LocalError(ClientError):
    """A file of this machine can't be read, written, replaced or removed."""


class ObjectChangedError(ClientError):
    """A download can't be resumed: the object has another version now."""


class DamagedError(ClientError):
    """A download is complete, but its MD5 differs from its ETag."""
