"""The gateway under Python's own `wsgiref`: HTTP/1.0, no chunked bodies, no keep-alive.

Shows that the application asks no more of a server than PEP 3333 does.
"""

from __future__ import annotations

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from wsgi import app, settings


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Without an access log of its own."""

    def log_message(self, *args: object) -> None:
        """The application logs."""


if __name__ == "__main__":
    make_server(settings.host, settings.port, app, Server, Handler).serve_forever()
