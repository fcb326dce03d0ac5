"""A TCP proxy that counts the HTTP requests that pass through it.

It looks for request lines in what the client sends; fit for a peer that sends no body
that looks like one. What keeps the roster (the system bucket) is not counted.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from contextlib import suppress

REQUEST_LINE = re.compile(rb"([A-Z]{3,6}) (/\S*) HTTP/1\.1\r\n")
SYSTEM_PATH = b"/amazin-system"
PIECE_BYTES = 256 * 1024
LINGER_SECONDS = 60.0
"""So long after all was asked a node may still answer."""


class CountingProxy:
    """Passes connections on to a port of loopback; `counts` is by method.

    What comes back comes late by `delay_seconds`, as from a server that is far away.
    """

    def __init__(self, target_port: int, delay_seconds: float = 0.0) -> None:
        self._target_port = target_port
        self._delay_seconds = delay_seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.counts: Counter[str] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed: the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(
                    target=self._serve, args=(client,), daemon=True
                ).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            node = socket.create_connection(("127.0.0.1", self._target_port))
            with node:
                back = threading.Thread(
                    target=self._pass_on, args=(node, client, False), daemon=True
                )
                back.start()
                self._pass_on(client, node, True)
                back.join(LINGER_SECONDS)

    def _pass_on(
        self, source: socket.socket, target: socket.socket, is_counted: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                if is_counted:
                    self._count(data)
                elif self._delay_seconds:
                    time.sleep(self._delay_seconds)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, data: bytes) -> None:
        for method, path in REQUEST_LINE.findall(data):
            if not path.startswith(SYSTEM_PATH):
                self.counts[method.decode()] += 1

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
