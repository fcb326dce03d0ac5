"""The WSGI application: request -> route -> handler -> response.

This is the only module that calls `start_response`, maps errors to responses and logs
requests. It knows no API and no node. Source: PEP 3333; RFC 9110.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

from amazin.blocking import pause
from amazin.errors import HTTPError, LateError, NodeError
from amazin.logs import EventRecord
from amazin.request_limits import (
    client_has_left,
    has_node_failed,
    is_late,
    request_deadline,
)
from amazin.settings.converters import Network
from amazin.web.access import Access
from amazin.web.audit import audit
from amazin.web.bodies import drain, has_no_end
from amazin.web.client_connection import end_limit, has_left, reset, taken_by
from amazin.web.errors import as_http_error
from amazin.web.framing import DEADLINE
from amazin.web.messages import Header, Request, Response, Route, Served, json_response
from amazin.web.metering import RequestMeter
from amazin.web.origins import require_json
from amazin.web.server_quirks import announce_close
from amazin.web.tracing import trace_fields

RETRY_AFTER = ("Retry-After", "2")
"""Is sent with every 503: a node that comes back is noticed within seconds."""
NOSNIFF = ("X-Content-Type-Options", "nosniff")
UNREAD_BODY = "amazin.unread_body"
"""Key in the environ: whether the server must close the connection."""
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")
"""What Host may be. Source: RFC 9112 section 3.2, RFC 3986 section 3.2.2."""
_LAST_CODES = ("IncompleteBody", "RequestTimeout")
"""Errors after which the client had better take another connection."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_STATUS[413], _STATUS[416] = "413 Content Too Large", "416 Range Not Satisfiable"

log = logging.getLogger("amazin.gateway")
access_log = logging.getLogger("amazin.access")


class Gateway:
    """A WSGI application that serves the given routes."""

    def __init__(
        self,
        routes: Sequence[Route],
        services: Served,
        access: Access | None = None,
        meter: RequestMeter | None = None,
    ) -> None:
        """`access`: by default that of the settings. Raises: SettingsError."""
        self._routes: dict[re.Pattern[str], tuple[str, dict[str, Route]]] = {}
        for route in routes:
            empty: dict[str, Route] = {}
            known = self._routes.setdefault(route.pattern, (api_of(route), empty))
            known[1][route.method] = route
        self._meter = meter
        self._services = services
        self._access = access or Access(services.settings)
        self._trusts = services.settings.forwarded_allow_ips
        self._timeout = services.settings.request_timeout or math.inf

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        started = time.monotonic()
        environ[DEADLINE] = deadline = started + self._timeout
        request_deadline.set(deadline)
        client_has_left.set(partial(has_left, environ, started))
        request = self._read_request(environ)
        if self._meter:
            self._meter.in_flight += 1
            has_node_failed.set(False)
        try:
            response = self._answer(request)
            if not isinstance(response.body, bytes | tuple):
                require_begun_in_time(response, environ[DEADLINE])
        except Exception as exc:  # noqa: BLE001 - a bug is logged, too
            error = self._noted(request, exc)
            response = error_response(request, error)
            if error.code in _LAST_CODES or has_no_end(environ):
                announce_close(start_response)
        except BaseException:  # the server ends this request
            if self._meter:
                self._meter.in_flight -= 1
            raise
        transfer = Transfer(request, response, started, self._meter)
        headers = final_headers(request, response)
        try:
            start_response(_STATUS[response.status], headers)
        except BaseException:
            transfer.close()
            raise
        return transfer

    def start(self) -> None:
        """Begin to follow the nodes. Called when the worker begins."""
        self._services.start()

    def close(self) -> None:
        """Stop the background threads. Called when the worker ends."""
        self._services.close()

    def _noted(self, request: Request, cause: Exception) -> HTTPError:
        """Return the error as the client sees it; a bug is logged."""
        error = as_client_error(request, cause)
        if error is None:
            log.exception("a bug", extra={"fields": {"requestId": request.id}})
            error = HTTPError(500, "InternalError", "The gateway failed: a bug")
        if self._meter:
            self._meter.note_error(error, cause)
        return error

    def _read_request(self, environ: WSGIEnvironment) -> Request:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        path = environ.get("PATH_INFO", "")
        if not path.isascii():
            raw = path.encode("latin-1", "replace")
            path = raw.decode("utf-8", "surrogateescape")
        return Request(
            method=environ["REQUEST_METHOD"],
            path=path,
            environ=environ,
            id=given if _REQUEST_ID.fullmatch(given) else new_id(),
            client=client_address(environ, self._trusts)
            if "HTTP_X_FORWARDED_FOR" in environ
            else environ.get("REMOTE_ADDR", ""),
        )

    def _answer(self, request: Request) -> Response:
        environ = request.environ
        is_needed = environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
        host = environ.get("HTTP_HOST", " " if is_needed else "")
        if not _HOST.fullmatch(host):
            message = "Send one Host header, with a name or an address"
            raise HTTPError(400, "InvalidHost", message)
        method = request.method
        if method == "OPTIONS":
            method = self._access.asked_method(request)
        allowed = set[str]()
        for pattern, (api, routes) in self._routes.items():
            match = pattern.fullmatch(request.path)
            if match and (route := routes.get(method)):
                request.api = api
                if method != request.method:
                    return self._access.preflight(request, route, match.groups(""))
                self._access.admit(request, route, match.groups(""))
                if route.takes_json:
                    require_json(environ)
                return route.handler(request, self._services, *match.groups(""))
            if match:
                allowed.update(routes)
        if not allowed:
            raise HTTPError(404, "NoSuchRoute", "Nothing is served at this path")
        methods = ", ".join(sorted(allowed))
        message = f"This path takes {methods}"
        raise HTTPError(405, "MethodNotAllowed", message, [("Allow", methods)])


def api_of(route: Route) -> str:
    """Return the first part of the path that a route takes."""
    found = re.match(r"/+\??([a-z-]+)", route.pattern.pattern)
    return found[1] if found else "none"


def new_id() -> str:
    """Return a random, unique request id."""
    return f"{random.getrandbits(128):032x}"


class Transfer:
    """Sends a response, and logs the request at its end, also after a failure."""

    def __init__(
        self,
        request: Request,
        response: Response,
        started: float,
        meter: RequestMeter | None = None,
    ) -> None:
        self._request = request
        self._response = response
        self._started = started
        self._meter = meter
        self._first_at = 0.0
        self._sent = 0
        self._is_begun = False
        self._error = "not sent whole"
        self._is_over = False

    def __iter__(self) -> Iterator[bytes]:
        body = self._response.body
        if self._request.method == "HEAD":
            body = b""
        deadline: float = self._request.environ[DEADLINE]
        if isinstance(body, bytes):
            body = (body,) if body else ()
            deadline = math.inf  # the whole body is in memory already
        if deadline < math.inf:
            body = taken_by(deadline, body, self._request.environ)
        try:
            for chunk in body:
                if self._sent:
                    if time.monotonic() > deadline:
                        raise LateError("not sent within REQUEST_TIMEOUT")
                    pause()  # a fast node and a fast client never wait
                else:
                    self._first_at = time.monotonic()
                self._is_begun = True  # even if not all of it can be sent
                yield chunk
                self._sent += len(chunk)
        except LateError as exc:
            self._error = f"broken: {exc}"
            raise
        except NodeError as exc:
            self._error = f"broken: node {exc.node or self._request.node}"
            self._error += f", key {exc.key}: {exc}" if exc.key else f": {exc}"
            raise
        self._error = ""

    def close(self) -> None:
        """End the request. The server calls this also after a broken connection."""
        if self._is_over:
            return
        self._is_over = True
        request_deadline.set(math.inf)
        client_has_left.set(None)
        body = self._response.body
        try:
            if not isinstance(body, bytes) and hasattr(body, "close"):
                body.close()
        finally:
            self._log()
            if self._meter:
                self._count(self._meter)
        if self._request.is_audited:
            audit(self._request, self._response.status)
        environ = self._request.environ
        if environ[DEADLINE] < math.inf:
            end_limit(environ)
        has_body = environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ
        if self._error and self._is_begun:  # too late for an error response
            reset(environ)
            environ[UNREAD_BODY] = bool(has_body)
        else:
            environ[UNREAD_BODY] = bool(has_body) and not drain(environ)

    def _count(self, meter: RequestMeter) -> None:
        request, status = self._request, self._response.status
        meter.note_end(request, status, self._started, self._first_at, self._sent)
        if self._error.startswith("broken"):
            meter.note_broken(request.api)
        elif (
            has_node_failed.get() and request.method in ("GET", "HEAD") and status < 400
        ):
            meter.note_failover()

    def _log(self) -> None:
        if not access_log.isEnabledFor(logging.INFO):
            return
        fields = {
            "requestId": self._request.id,
            "method": self._request.method,
            "path": self._request.path,
            "status": self._response.status,
            "bytes": self._sent,
            "ms": round((time.monotonic() - self._started) * 1000, 1),
            "node": self._request.node,
            "client": self._request.client,
        }
        if self._error:
            fields["error"] = self._error
        if "HTTP_TRACEPARENT" in self._request.environ:
            fields |= trace_fields(self._request.environ["HTTP_TRACEPARENT"])
        access_log.handle(EventRecord(access_log.name, "request", fields))


def require_begun_in_time(response: Response, deadline: float) -> None:
    """Close a streamed body that would begin too late. Raises: LateError.

    A body that is in memory, or empty, is never too late: the client need not wait for
    it.
    """
    if time.monotonic() <= deadline:
        return
    body = response.body
    if not isinstance(body, bytes) and hasattr(body, "close"):
        body.close()
    raise LateError("The answer did not begin within REQUEST_TIMEOUT")


def final_headers(request: Request, response: Response) -> list[Header]:
    """Return the response's headers together with those that every response has."""
    headers = [*response.headers, ("Content-Security-Policy", response.policy), NOSNIFF]
    if request.page_headers:
        headers += request.page_headers
    if not response.is_bare:
        headers.append(("X-Request-Id", request.id))
    if response.status == 503:
        headers.append(RETRY_AFTER)
    length = response.length
    if length is None and isinstance(response.body, bytes):
        length = len(response.body)
    if response.status not in (204, 304) and length is not None:
        headers.append(("Content-Length", str(length)))
    return headers


def error_response(request: Request, error: HTTPError) -> Response:
    """Return the response that tells the client about an error."""
    body = {"error": error.message, "code": error.code, "requestId": request.id}
    return json_response(error.status, body, error.headers)


def as_client_error(request: Request, error: Exception) -> HTTPError | None:
    """Return the error as the client sees it; None if the error is a bug.

    Stores the name of a failed node in the request, for the log.
    """
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, NodeError):
        request.node = error.node or request.node
        log.debug("node %s: %s", request.node, error)
        if is_late():
            error = LateError("The nodes did not answer within REQUEST_TIMEOUT")
    return as_http_error(error)


def client_address(
    environ: WSGIEnvironment,
    trusts: Sequence[Network],
) -> str:
    """Return the client's address; X-Forwarded-For counts from trusted proxies only.

    It is the last address in that header that does not belong to a trusted proxy.
    """
    address: str = environ.get("REMOTE_ADDR", "")
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
    hops = [hop.strip() for hop in forwarded.split(",")] if forwarded else []
    while hops and is_trusted(address, trusts):
        hop = hops.pop()
        if not is_address(hop):
            break
        address = hop
    return address


def is_address(text: str) -> bool:
    """Whether the text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_trusted(text: str, trusts: Sequence[Network]) -> bool:
    """Whether X-Forwarded-For is believed from a proxy at this address."""
    if not is_address(text):
        return False
    address = ipaddress.ip_address(text)
    # A dual-stack socket reports an IPv4 client as an IPv4-mapped IPv6 address.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in trusts)
