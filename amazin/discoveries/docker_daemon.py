"""The Docker daemon: connects to it, asks it, follows its events.

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
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from amazin.discoveries.docker_endpoint import Endpoint
from amazin.discoveries.docker_ssh import CONNECT_SECONDS, SshAdapter

DAEMON_TIMEOUT_SECONDS = 3
FIRST_VERSION = "1.24"
"""Of the API, for the question which versions there are."""
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

Connect = Callable[[], docker.APIClient]


def connect_daemon(endpoint: Endpoint) -> docker.APIClient:
    """Return a client of the daemon, with a negotiated API version.

    Raises: one of DAEMON_ERRORS.
    """
    if endpoint.socket:  # the SDK leaks a socket that can't be connected
        with closing(socket.socket(socket.AF_UNIX)) as attempt:
            attempt.settimeout(DAEMON_TIMEOUT_SECONDS)
            attempt.connect(str(endpoint.socket))
    if not endpoint.tls and not endpoint.is_ssh:
        return _client(endpoint, "auto")
    # The SDK asks for the version before it can be told how to reach the daemon.
    with closing(_client(endpoint, FIRST_VERSION)) as asking:
        version = asking.version(api_version=False)["ApiVersion"]
    return _client(endpoint, version)


def _client(endpoint: Endpoint, version: str) -> docker.APIClient:
    if endpoint.is_ssh:
        client = docker.APIClient(
            base_url="http://localhost:80", version=version, timeout=CONNECT_SECONDS
        )
        client.trust_env = False
        client.mount("http://", SshAdapter(endpoint.url, CONNECT_SECONDS))
        return client
    client = docker.APIClient(
        base_url=endpoint.url,
        version=version,
        timeout=DAEMON_TIMEOUT_SECONDS,
        tls=endpoint.tls or False,
    )
    if endpoint.tls:  # else REQUESTS_CA_BUNDLE would take the place of its ca.pem
        client.trust_env = False
        client.proxies = get_environ_proxies(client.base_url)
    return client


def inspect(client: docker.APIClient, id_: str) -> Mapping[str, Any] | None:
    """Return the inspection of a container; None: the daemon has no such container.

    Raises: one of DAEMON_ERRORS.
    """
    try:
        inspection: Mapping[str, Any] = client.inspect_container(id_)
    except NotFound:
        return None
    return inspection


def is_rootless(client: docker.APIClient) -> bool:
    """Whether the containers have a network that the machine itself can't reach.

    False if a proxy refuses the question. Raises: one of DAEMON_ERRORS.
    """
    try:
        info = client.info()
    except APIError:
        return False
    options = info.get("SecurityOptions") or ()
    return bool(info.get("Rootless")) or "name=rootless" in options  # Podman; Docker


class DaemonEvents:
    """Follows the daemon's events in a thread, which the first `wait` starts.

    Each process has a thread of its own. An event is only a hint to call `find` again,
    because the stream may end silently.
    """

    def __init__(
        self,
        connect: Connect,
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
