"""Says what is wrong with the Docker daemon, to clients and to operators.

Clients see no address. Operators see it, and what can be done.
"""

from __future__ import annotations

import grp
import os
import re
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

import requests
from docker.errors import APIError, DockerException, InvalidVersion
from requests.utils import get_environ_proxies, select_proxy

from amazin.discoveries.docker_endpoint import Endpoint
from amazin.discoveries.docker_ssh import SshError
from amazin.errors import DiscoveryError

NO_ANSWER = "The Docker daemon does not answer"
NO_PERMISSION = "The gateway has no permission to ask the Docker daemon"
REFUSES = "The Docker daemon refuses to list the containers"
NO_TLS = "The Docker daemon can't be reached by TLS"
UNREADABLE = "The Docker daemon gives an answer that can't be read"
NEEDED = (
    "GET of /version, /containers/json, /containers/{id}/json, /networks and /events"
)
NO_CERTIFICATE = (
    "TLS: it refuses the gateway's certificate: DOCKER_CERT_PATH must have a cert.pem "
    "and a key.pem that it accepts"
)
TOO_LATE = "no answer in time: the daemon hangs, or a firewall drops what is sent"
NOT_DOCKER = "what answers is no Docker daemon"
_NONSENSE = (HTTPException, ValueError, LookupError, TypeError, AttributeError)
_OTHER_SOCKETS = ("docker.sock", "podman/podman.sock")
"""Below XDG_RUNTIME_DIR: those of rootless engines."""


def discovery_error(error: BaseException, endpoint: Endpoint) -> DiscoveryError:
    """Return what an exception of the SDK, or of a library below it, means."""
    causes = list(_chain(error))
    message = _for_clients(causes)
    detail = _first_known(causes, endpoint)
    proxy = _proxy_between(endpoint)
    return DiscoveryError(message, f"{message}: {endpoint}: {detail}{proxy}")


def _proxy_between(endpoint: Endpoint) -> str:
    """Return a hint at a proxy of the environment that the requests go through."""
    scheme, _, place = endpoint.url.partition("://")
    if scheme in ("unix", "ssh"):
        return ""
    url = f"{'https' if endpoint.tls else 'http'}://{place}"
    if not select_proxy(url, get_environ_proxies(url)):
        return ""
    return "; HTTP_PROXY or HTTPS_PROXY is in between, unless NO_PROXY has this host"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all that it was made of, the outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += (one.__context__, one.__cause__, *one.args)


def _for_clients(causes: list[BaseException]) -> str:
    if any(isinstance(one, PermissionError) for one in causes):
        return NO_PERMISSION
    if any(isinstance(one, ssl.SSLError) for one in causes):
        return NO_TLS
    if any(isinstance(one, APIError) for one in causes):
        return REFUSES
    if any(isinstance(one, (ValueError, LookupError)) for one in causes[1:]):
        return UNREADABLE
    known = (DockerException, requests.RequestException, OSError)
    return NO_ANSWER if isinstance(causes[0], known) else UNREADABLE


def _first_known(causes: list[BaseException], endpoint: Endpoint) -> str:
    """Return what the innermost exception says that says something.

    What ssh says comes first: below it is only that its pipe broke.
    """
    of_ssh = [one for one in causes if isinstance(one, SshError)]
    for cause in (*of_ssh, *reversed(causes)):
        if found := _explain(cause, endpoint):
            return found
    return f"{type(causes[-1]).__name__}: {causes[-1]}"


def _explain(cause: BaseException, endpoint: Endpoint) -> str:
    """Return what one exception means; "": nothing special."""
    if isinstance(cause, APIError):
        return _answered(cause)
    if isinstance(cause, InvalidVersion):
        return f"the daemon is too old: {cause}"
    if isinstance(cause, SshError):
        return f"ssh says: {cause}"
    if isinstance(cause, ssl.SSLError):
        return _of_tls(cause)
    if isinstance(cause, RemoteDisconnected):
        return "it closes the connection without an answer"
    if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
        return _of_system(cause, endpoint)
    if isinstance(cause, requests.Timeout):
        return TOO_LATE
    if isinstance(cause, _NONSENSE):
        return NOT_DOCKER
    return ""


def _answered(error: APIError) -> str:
    """Return what an HTTP status means."""
    status = error.response.status_code if error.response is not None else 0
    asked = urlsplit(error.response.url).path if error.response is not None else ""
    text = str(error.explanation or error)
    said = " ".join(text.split())[:200]
    if "HTTP request to an HTTPS server" in text:
        return "it speaks TLS: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
    if re.search(r"(client|API) version .* is too (old|new)", text):
        return f"the API versions don't match: {said}"
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED):
        return f"a proxy refuses {asked} ({status}); the gateway needs {NEEDED}: {said}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        return f"it wants a password ({status}), which can't be given: {said}"
    if status == HTTPStatus.NOT_FOUND:
        return f"{NOT_DOCKER} (404)"
    return f"it answers {status}: {said}" if status else said


def _of_tls(error: ssl.SSLError) -> str:
    text = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "TLS: its certificate can't be verified "
            f"({error.verify_message}): DOCKER_CERT_PATH must have the ca.pem for it"
        )
    if re.search("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST", text):
        return "TLS: it speaks plain HTTP: unset DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
    if re.search("(?i)certificate|unknown.ca|handshake|EOF occurred", text):
        return f"{NO_CERTIFICATE} ({error.reason or text})"
    return f"TLS: {error.reason or text}"


def _of_system(error: OSError, endpoint: Endpoint) -> str:
    """Return what an error of the operating system means."""
    if isinstance(error, PermissionError):
        return _permission(endpoint.socket)
    if isinstance(error, socket.gaierror):
        return f"the name of the host is not known ({error.strerror})"
    if isinstance(error, FileNotFoundError):
        if endpoint.is_ssh:
            return "the command ssh is not installed"
        return f"there is no such socket: no daemon runs here{_elsewhere(endpoint)}"
    if isinstance(error, ConnectionRefusedError):
        return _refused(endpoint)
    if isinstance(error, ConnectionResetError) and endpoint.tls:
        return f"{NO_CERTIFICATE} (it closes the connection)"
    if isinstance(error, TimeoutError):
        return TOO_LATE
    return error.strerror or ""


def _refused(endpoint: Endpoint) -> str:
    if endpoint.socket is None:
        return "nothing listens there: no daemon runs, or it listens elsewhere"
    with suppress(OSError):  # it was removed just now
        if what := _no_socket(endpoint.socket.stat().st_mode):
            return what
    return f"no daemon listens on this socket: it is not running{_elsewhere(endpoint)}"


def _no_socket(mode: int) -> str:
    """Say what is there instead of a socket; "": it is a socket."""
    if stat.S_ISDIR(mode):
        return (
            "this is a folder: Docker makes one if a socket that does not exist is "
            "mounted"
        )
    return "" if stat.S_ISSOCK(mode) else "this is a file, not a socket"


def _elsewhere(endpoint: Endpoint) -> str:
    """Return a hint at the socket of a rootless engine, if there is one."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    others = [runtime / name for name in _OTHER_SOCKETS]
    others.append(Path("/run/podman/podman.sock"))
    for other in others:
        try:
            if other != endpoint.socket and other.is_socket():
                return f"; there is another one: set DOCKER_HOST=unix://{other}"
        except OSError:
            continue
    return "; DOCKER_HOST can name another one"


def _permission(path: Path | None) -> str:
    """Say who may use a socket."""
    if path is None:
        return "the connection is not permitted"
    user = f"user {os.geteuid()}"
    try:
        found = path.stat()
    except OSError:
        return f"{user} may not look into {path.parent}"
    if what := _no_socket(found.st_mode):
        return what
    if not found.st_mode & stat.S_IWGRP:
        return f"only user {found.st_uid} may use this socket, not {user}"
    number = found.st_gid
    return (
        f"{user} is not in the socket's group {_group_name(number)}: add it there; "
        f'in a container, with `group_add: ["{number}"]` or, for our image, '
        f"DOCKER_GID={number}"
    )


def _group_name(number: int) -> str:
    try:
        return f"{grp.getgrgid(number).gr_name} ({number})"
    except KeyError:
        return str(number)
