"""The HTTP error for each exception: status, code, and a message. Pure."""

from __future__ import annotations

from amazin.errors import (
    BodyError,
    BucketNotEmptyError,
    BucketNotFoundError,
    ConflictError,
    DifferentContentError,
    DigestError,
    GatewayError,
    HTTPError,
    InvalidHeaderError,
    InvalidIdError,
    LateError,
    LostCopyError,
    MetadataTooLargeError,
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeProtocolError,
    NodeReadOnlyError,
    NodeUnreachableError,
    NoNodesError,
    NoSuchBucketError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
    SignatureError,
)
from amazin.model.headers import LOST_HEADER

_ANSWERS: tuple[tuple[type[GatewayError], int, str, str], ...] = (
    (NoSuchKeyError, 404, "NoSuchObject", "There is no such object"),
    (
        PreconditionError,
        412,
        "PreconditionFailed",
        "The object is not in the state that the request's condition names",
    ),
    (InvalidIdError, 422, "InvalidId", "{error}"),
    (InvalidHeaderError, 400, "InvalidHeader", "{error}"),
    (MetadataTooLargeError, 400, "MetadataTooLarge", "{error}"),
    (
        DifferentContentError,
        409,
        "DifferentContent",
        "Something else is stored under this id; its bytes never change",
    ),
    (
        BucketNotFoundError,
        404,
        "NoSuchBucket",
        "There is no such bucket; POST to /buckets/ and its name makes it",
    ),
    (
        BucketNotEmptyError,
        409,
        "BucketNotEmpty",
        "The bucket holds objects; delete them first",
    ),
    (DigestError, 400, "BadDigest", "{error}"),
    (BodyError, 400, "IncompleteBody", "{error}"),
    (LateError, 408, "RequestTimeout", "{error}"),
    (NotSupportedError, 501, "NotSupported", "{error}"),
    (
        LostCopyError,
        502,
        "LostObject",
        "The bytes of this object are damaged or gone on the nodes that have it",
    ),
    (
        NodeProtocolError,
        502,
        "NodeNonsense",
        "A node sent an answer that can't be trusted",
    ),
    (NoNodesError, 503, "NoNodes", "{error}"),
    (ConflictError, 503, "Conflict", "The object keeps changing; try again"),
)
"""Exception class, status, code and message; the first class that matches counts."""
_NODE = "A node that is needed for this object "
_FAILURES = {
    NodeFullError.state: (507, "NodeFull", "The node of this object has no room left"),
    NodeReadOnlyError.state: (
        503,
        "NodeReadOnly",
        f"{_NODE}is read-only: what it holds can be read, not changed",
    ),
    NodePermissionError.state: (
        503,
        "NodeDenied",
        f"{_NODE}does not permit this to the storage service",
    ),
    NodeAccessError.state: (
        503,
        "NodeDenied",
        f"{_NODE}refuses the storage service's keys",
    ),
    NodeBusyError.state: (
        503,
        "NodeBusy",
        f"{_NODE}has too much to do; try again later",
    ),
    NodeUnreachableError.state: (
        503,
        "NodeUnreachable",
        f"{_NODE}does not answer; try again later",
    ),
    NoSuchBucketError.state: (503, "NodeFailed", f"{_NODE}has lost its disk"),
    NodeError.state: (
        503,
        "NodeFailed",
        f"{_NODE}answers with an error; try again later",
    ),
}
"""Status, code and message for a node that fails, by its state."""
_LOST = ((LOST_HEADER, "true"),)
"""HEAD has no code, and a proxy in front may answer with this status, too."""


def as_http_error(error: Exception) -> HTTPError | None:
    """Return the HTTP error for an exception of ours; None: the exception is a bug."""
    if isinstance(error, SignatureError):
        return HTTPError(403, error.code, str(error))
    headers = _LOST if isinstance(error, LostCopyError) else ()
    for kind, status, code, message in _ANSWERS:
        if isinstance(error, kind):
            return HTTPError(status, code, message.format(error=error), headers)
    if not isinstance(error, NodeError):
        return None
    status, code, message = _FAILURES[error.state]
    return HTTPError(status, code, message)
