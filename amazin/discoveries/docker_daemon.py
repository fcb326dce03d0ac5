"""The Docker daemon: connects to it, describes its failures, follows its events.

Knows nothing of nodes. SDK: https://docker-py.readthedocs.io, the low-level client.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from urllib3.exceptions import HTTPError

DAEMON_TIMEOUT_SECONDS = 3
CLOSE_SECONDS = 10.0
"""How long `close` waits for the thread to end."""
EVENTS_PAUSE_SECONDS = 1.0
"""Between two attempts to follow the daemon's events."""

_WATCHED = {
    "type": ["container", "network"],
    "event": [
        *("create", "start", "pause", "unpause", "kill", "die", "stop", "destroy"),
        *("rename", "connect", "disconnect"),
    ],
}
DAEMON_ERRORS = (
    *(DockerException, requests.RequestException, HTTPError, OSError),
    *(ValueError, LookupError, TypeError, AttributeError),
)
"""The exceptions of the SDK and its libraries, and those for invalid responses."""

Connect = Callable[[str], docker.APIClient]


def connect_daemon(base_url: str) -> docker.APIClient:
    """Return a client of the daemon, with a negotiated API version.

    Raises: one of DAEMON_ERRORS.
    """
    scheme, _, path = base_url.partition("://")
    if scheme == "unix":  # the SDK leaks a socket that can't be connected
        with closing(socket.socket(socket.AF_UNIX)) as attempt:
            attempt.connect(path)
    return docker.APIClient(
        base_url=base_url, version="auto", timeout=DAEMON_TIMEOUT_SECONDS
    )


def inspect(client: docker.APIClient, id_: str) -> Mapping[str, Any] | None:
    """Return the inspection of a container; None: the daemon has no such container.

    Raises: one of DAEMON_ERRORS.
    """
    try:
        inspection: Mapping[str, Any] = client.inspect_container(id_)
    except NotFound:
        return None
    return inspection


def describe(error: BaseException | None) -> str:
    """Return a sentence, fit for clients, on what is wrong with the daemon."""
    if isinstance(error, APIError):
        return "The Docker daemon refuses to list the containers"
    if not isinstance(error, (DockerException, requests.RequestException, OSError)):
        return "The Docker daemon gives an answer that can't be read"
    while error is not None:
        if isinstance(error, PermissionError):
            return "The gateway has no permission to ask the Docker daemon"
        error = error.__cause__ or error.__context__
    return "The Docker daemon does not answer"


class DaemonEvents:
    """Follows the daemon's events in a thread, which the first `wait` starts.

    Each process has a thread of its own. An event is only a hint to call `find` again,
    because the stream may end silently.
    """

    def __init__(
        self,
        connect: Callable[[], docker.APIClient],
        selector: str,
        pause_seconds: float = EVENTS_PAUSE_SECONDS,
    ) -> None:
        self.changed = threading.Event()
        self._connect = connect
        self._selector = selector
        self._pause_seconds = pause_seconds
        self._listening_pid = 0
        self._listening: threading.Thread | None = None
        self._closing = threading.Event()
        self._stream: Any = None

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as something may have changed."""
        if self._listening_pid != os.getpid():
            self._listening_pid = os.getpid()
            self._closing.clear()
            self._listening = threading.Thread(
                target=self._listen, name="docker-events", daemon=True
            )
            self._listening.start()
        self.changed.wait(seconds)
        self.changed.clear()

    def close(self) -> None:
        """Stop following events. Idempotent."""
        self._closing.set()
        self._break_off()
        if self._listening_pid == os.getpid() and self._listening:
            self._listening.join(CLOSE_SECONDS)

    def _listen(self) -> None:
        while not self._closing.is_set():
            with suppress(*DAEMON_ERRORS), closing(self._connect()) as client:
                self._read_events(client)
            self._closing.wait(self._pause_seconds)

    def _read_events(self, client: docker.APIClient) -> None:
        now = int(time.time())
        self._stream = client.events(since=now, filters=_WATCHED, decode=True)
        if self._closing.is_set():
            self._break_off()
        self.changed.set()  # something may have happened before the stream began
        for event in self._stream:
            if self._concerns_nodes(event):
                self.changed.set()

    def _break_off(self) -> None:
        """Close the event stream: the thread could wait for it for ever."""
        if hasattr(self._stream, "close"):
            with suppress(*DAEMON_ERRORS):
                self._stream.close()

    def _concerns_nodes(self, event: Mapping[str, Any]) -> bool:
        texts = event["Actor"]["Attributes"].values()
        is_node = any(self._selector in text for text in texts)
        return is_node or event["Type"] == "network"
