"""The connection to the client, where the server lets the application have it.

WSGI has no word for it: gunicorn's workers put the socket into the environ.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from wsgiref.types import WSGIEnvironment

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(environ: WSGIEnvironment) -> None:
    """End the connection so that the client sees that the response is not complete.

    An orderly end is how a whole response without a length ends for an HTTP/1.0 client.
    Does nothing under servers other than gunicorn, which end it as they can when the
    response raises.
    """
    sock: socket.socket | None = environ.get("gunicorn.socket")
    if sock is not None:
        with suppress(OSError):  # it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()  # before the server, which would shut it down in order
