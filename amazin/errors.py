"""Every exception the project raises on purpose, in one tree.

Two audiences: `HTTPError` is what a client is told, `NodeError` is what went wrong
with one storage node. Answers that are no failure of the node (no such object, a
precondition that does not hold) are exceptions too, outside `NodeError`.
"""

from __future__ import annotations

from collections.abc import Sequence


class GatewayError(Exception):
    """Root of all errors of this project."""


class SettingsError(GatewayError):
    """At start: a setting has a value that can't be used; the message names it."""


class DiscoveryError(GatewayError):
    """The source of the list of nodes did not answer, or answered nonsense.

    The message may be shown to clients: no path, address or secret in it.
    """


class HTTPError(GatewayError):
    """A request is refused: `status`, a stable `code`, a sentence to act on."""

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
    """Too few nodes are known for anything; the message says why."""


class ConflictError(GatewayError):
    """An object changed again and again while it was being read."""


class NotSupportedError(GatewayError):
    """The request is right, but this cluster can't do it safely."""


class DifferentContentError(GatewayError):
    """Something else is stored under a name whose bytes never change."""


class InvalidIdError(GatewayError):
    """No blob can have this id; the message says why."""


class BucketNotFoundError(GatewayError):
    """The cluster has no such bucket."""


class BucketNotEmptyError(GatewayError):
    """The bucket holds objects, so it can't be removed."""


class InvalidHeaderError(GatewayError):
    """A header has characters that nodes don't keep; the message names it."""


class MetadataTooLargeError(GatewayError):
    """The headers to be stored are more than nodes take; the message has the limit."""


class SignatureError(GatewayError):
    """A signed URL is not good: why, for people, and a stable `code` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BodyError(GatewayError):
    """The client's request body could not be read to its end."""


class LateError(GatewayError):
    """The time for the whole request is over."""


class NodeError(GatewayError):
    """A node gave no usable answer; whether it did the work is unknown."""

    node = ""
    """The stable name of the node, once it is known; for logs."""


class NodeUnreachableError(NodeError):
    """The request was not sent: refused, stopped, connect timeout, skipped."""


class NodeTimeoutError(NodeError):
    """The node was silent for longer than its time limit."""


class NodeAccessError(NodeError):
    """The node refused our credentials (401 or 403)."""


class NoSuchBucketError(NodeError):
    """The node has no such bucket: its disk is a new one, or never held anything."""


class NodeFullError(NodeError):
    """The node has no room left (507, or ENOSPC on a folder)."""


class RosterError(GatewayError):
    """What is remembered of the set of nodes can't be read, or not be changed so."""


class RepairError(GatewayError):
    """A repair can't begin, or not go on; the message says why."""


class NodeProtocolError(NodeError):
    """The node's answer is not the HTTP or S3 that it should be."""


class NoSuchKeyError(GatewayError):
    """The node answered that it holds no such object."""


class PreconditionError(GatewayError):
    """The node answered that `if_match` or `if_absent` does not hold (412)."""


class ClientError(GatewayError):
    """Of our programs that talk to a gateway: it did not answer as it should.

    `retry_after_seconds`: when to try again at the earliest; None: that is of no use.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RefusedError(ClientError):
    """A gateway answered with an error: `status`, and its `code`, if it has one."""

    def __init__(
        self, status: int, code: str, message: str, retry_after_seconds: float | None
    ) -> None:
        super().__init__(message, retry_after_seconds)
        self.status = status
        self.code = code


class ObjectChangedError(ClientError):
    """A download can't go on: another version of the object is there now."""


class DamagedError(ClientError):
    """A download is whole, but has not the MD5 that its ETag says."""
