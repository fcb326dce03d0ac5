"""The meaning of an S3 server's responses.

Sends nothing, and receives only the short body that explains an error.

Source: Amazon S3 API Reference; the responses of MinIO and versitygw were measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from amazin.errors import (
    GatewayError,
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodePermissionError,
    NodeProtocolError,
    NodeUnreadableError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.headers import NATIVE_HEADERS, content_range, read_modified
from amazin.model.objects import Label, ObjectInfo
from amazin.nodes.transport.response import Response

ERROR_BODY_SECONDS = 5.0
_META = "x-amz-meta-"
_LABEL = _META + "amazin-stamp"
_KEPT_META = (_META + "x-", _META + "expires")
_PLAIN_VALUE = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"
"""Not escaped in a metadata value. The space is escaped: signing would merge
several."""
_NATIVE_KEYS = [(name, name.lower()) for name in NATIVE_HEADERS]
_ETAG = re.compile(r'"([0-9A-Za-z+/=_-]{1,128})"')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,100})</Code>")
_ACCESS_CODES = ("InvalidAccessKeyId", "XAdminUserNotFound")
"""versitygw answers 404 with the second code if the access key is unknown."""
_FULL_CODES = (
    "XMinioStorageFull",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "IncompleteBody",
)
"""MinIO says the last one of a whole upload if its disk gets full meanwhile."""
_BUSY_STATUSES = (408, 429, 503, 504)
_UNREADABLE_CODE = "SlowDownRead"
"""MinIO says this, with 503, also of a copy whose bytes are damaged."""


class RemovedDirectoryError(NodeError):
    """A concurrent delete removed the directory of an upload on versitygw.

    The delete emptied the directory, and versitygw removed it. Its error code says that
    the key is a directory; nothing was stored.
    """


class DeniedError(NodePermissionError):
    """The keys don't permit this, or MinIO lost the directory of an upload.

    In the latter case a concurrent delete emptied the directory; nothing was stored.
    """


def bucket_exists(response: Response) -> bool:
    """Whether the bucket exists, given the response to a GET of an object in it."""
    try:
        require_success(response)
    except NoSuchKeyError:
        return True
    except NoSuchBucketError:
        return False
    except DeniedError as exc:
        raise NodeUnreadableError(str(exc)) from exc
    finally:
        response.close()
    return True


def require_success(response: Response, *, is_conditional: bool = False) -> None:
    """Return if the response is 2xx from an S3 server, else raise the matching error.

    Raises:
        NoSuchKeyError: its text is the error code. It is empty for HEAD on servers that
            don't say what is missing: see `S3Node.start_head`.
        PreconditionError: 412, if the request had a condition.
        NodeError: all other responses.
    """
    if "x-amz-request-id" not in response.headers:
        raise NodeProtocolError("what answers at the node's address is no S3 server")
    if 200 <= response.status < 300:
        return
    code = response.headers.get("x-minio-error-code", "")
    if response.method != "HEAD":
        found = _CODE.search(response.read_all(ERROR_BODY_SECONDS))
        code = found[1].decode() if found else "without a code"
    if is_conditional and response.status == 412:
        raise PreconditionError(code)
    raise error_for(response.status, code)


def error_for(status: int, code: str) -> GatewayError:
    """Return the error for an error response; `code` may be empty (HEAD has none)."""
    if status == 404 and code in ("NoSuchKey", ""):
        return NoSuchKeyError(code)
    if status == 404 and code == "NoSuchBucket":
        return NoSuchBucketError("the node has no such bucket")
    if code == "AccessDenied":
        return DeniedError("the gateway's keys don't permit it (AccessDenied)")
    if status in (401, 403) or code in _ACCESS_CODES:
        return NodeAccessError(f"the node refused the gateway's keys ({code})")
    if status == 507 or code in _FULL_CODES:
        return NodeFullError(f"the node is full ({code or status})")
    if code == "ExistingObjectIsDirectory":
        return RemovedDirectoryError("a delete removed the directory of the upload")
    if status in _BUSY_STATUSES and code != _UNREADABLE_CODE:
        return NodeBusyError(f"the node answered {status} {code}".rstrip())
    if status >= 500 or status == 409:
        return NodeError(f"the node answered {status} {code}".rstrip())
    return NodeProtocolError(f"the node answered {status} {code}".rstrip())


def read_etag(response: Response) -> str:
    """Return the ETag without its quotes. Raises: NodeProtocolError."""
    found = _ETAG.fullmatch(response.headers.get("etag", ""))
    if not found:
        raise NodeProtocolError("the node sent no usable ETag")
    return found[1]


def read_info(response: Response, *, is_conditional: bool = False) -> ObjectInfo:
    """Read an object's info from the response to GET or HEAD.

    Raises:
        NoSuchKeyError, PreconditionError: the node answered so.
        NodeError: the response is not usable.
    """
    require_success(response, is_conditional=is_conditional)
    headers = response.headers
    part = content_range(headers)
    size = part[2] if part else headers.get("content-length")
    if size is None:
        raise NodeProtocolError("the node sent an object without its length")
    label = Label.parse(headers.get(_LABEL, ""))
    return ObjectInfo(
        size=int(size),
        etag=read_etag(response),
        modified_ns=label.stamp.nanoseconds if label else read_modified(headers),
        label=label,
        headers=stored_headers(headers),
    )


def read_label(headers: Mapping[str, str]) -> Label | None:
    """Return the label that a gateway stored; None if there is no valid one."""
    return Label.parse(headers.get(_LABEL, ""))


def stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers stored with the object, to be sent with a download."""
    stored = {}
    for name, key in _NATIVE_KEYS:
        if value := headers.get(key):
            stored[name] = value
    for name in headers:
        if name.startswith(_KEPT_META):
            stored[name[len(_META) :].title()] = unescaped(headers[name])
    return stored


def unescaped(value: str) -> str:
    """Undo the escapes of `metadata_lines`, unless that makes a control character."""
    plain = unquote(value, encoding="latin-1")
    return value if _CONTROL.search(plain) else plain


def metadata_lines(
    headers: Mapping[str, str], label: Label
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the request headers that store these headers and the label with an object.

    Two lists of (name, value): first the `x-amz-meta-` headers, which are signed, then
    the native ones. Metadata values are escaped: S3 keeps only printable ASCII in them.
    """
    native, metadata = [], [(_LABEL, str(label))]
    for name, value in headers.items():
        if name in NATIVE_HEADERS:
            native.append((name, value))
        else:
            escaped = quote(value, _PLAIN_VALUE, encoding="latin-1")
            metadata.append((_META + name.lower(), escaped))
    return metadata, native
