"""What gunicorn refuses before the application is called, answered in JSON.

gunicorn's own answer is a page of HTML that repeats the request.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from contextlib import suppress
from weakref import WeakSet

from amazin.logs import EventRecord
from amazin.web.messages import SANDBOX
from amazin.web.refusals import refusal
from gateway import NOSNIFF, new_id

LINGER_SECONDS, LINGER_BYTES = 2.0, 2**20
"""Limits for reading on after a refusal: a connection that is closed with bytes unread
is reset, and its client may never see the refusal."""
refused_heads = WeakSet[socket.socket]()
"""The connections on which the refused request is HEAD: its answer has no body."""
access_log = logging.getLogger("amazin.access")


def refuse(sock: socket.socket, status: int, reason: str, detail: str) -> None:
    """Send an error in JSON. The same parameters as gunicorn's `util.write_error`."""
    error, request_id = refusal(status, detail), new_id()
    body = {"error": error.message, "code": error.code, "requestId": request_id}
    data = json.dumps(body, separators=(",", ":")).encode()
    lines = (
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/json",
        "{}: {}".format(*NOSNIFF),
        f"Content-Security-Policy: {SANDBOX}",
        f"X-Request-Id: {request_id}",
        f"Content-Length: {len(data)}",
    )
    fields = {
        "requestId": request_id,
        "status": status,
        "error": error.code,
        "client": client_of(sock),
    }
    if access_log.isEnabledFor(logging.INFO):
        access_log.handle(EventRecord(access_log.name, "refused", fields))
    with suppress(OSError):
        sock.settimeout(LINGER_SECONDS)
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        sock.sendall(head if sock in refused_heads else head + data)
        linger(sock)


def client_of(sock: socket.socket) -> str:
    """Return the address of who sent it; "": it has gone, or there is none."""
    with suppress(OSError):
        name = sock.getpeername()
        return str(name[0]) if isinstance(name, tuple) else ""
    return ""


def linger(sock: socket.socket) -> None:
    """Send no more, and read what the client still sends, up to a limit.

    Raises: OSError.
    """
    sock.shutdown(socket.SHUT_WR)
    ends, size = time.monotonic() + LINGER_SECONDS, 0
    while size < LINGER_BYTES and time.monotonic() < ends:
        data = sock.recv(64 * 1024)
        if not data:
            return
        size += len(data)
