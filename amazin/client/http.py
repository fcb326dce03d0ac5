"""Sends HTTP requests to a gateway, and repeats those that fail for a short time.

Handles URLs, credentials, connections and errors, but no objects (`objects.py`). Every
error is a `ClientError` with a sentence for people. After a transient error (503, a
broken connection) a request is sent again after a pause, a few times, unless its body
can't be read again.
"""

from __future__ import annotations

import errno
import json
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from http.client import BadStatusLine, RemoteDisconnected
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection

from amazin.client.proxies import proxy_for
from amazin.errors import ClientError, RefusedError
from amazin.logs import without_credentials
from amazin.model.headers import LOST_HEADER
from amazin.model.names import printable
from amazin.workers import Throttle

PIECE_BYTES = 2**18
PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The pauses before the tries after the first; then the error is raised."""
MAX_PAUSE_SECONDS = 30.0
"""The longest pause, even if the gateway asks for more."""
TRANSIENT_STATUSES = frozenset((429, 502, 503, 504))
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 300.0
"""For the first byte of an answer, and between two pieces in both directions. A gateway
receives a body without a length completely before it sends it to nodes."""
MAX_JSON_BYTES = 2**26
CONNECTIONS = 32
"""Connections kept open; more may be in use at the same time."""
TOKEN_HINT = "give a token with --token or AMAZIN_TOKEN"
NOWHERE_HINT = "is it running? --url or AMAZIN_URL says where it is"
PROXY_HINT = "NO_PROXY names hosts that need none"
NOT_CONNECTED = (
    exceptions.NewConnectionError,
    exceptions.ConnectTimeoutError,
    exceptions.ProxyError,
)
TLS_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""The errors of a connection under TLS that breaks."""

Answer = urllib3.BaseHTTPResponse
Body = Callable[[], Iterable[bytes]]
"""Returns the pieces of a body from its beginning, at each call."""


class Patience:
    """Decides how often a request is tried again, and pauses before that."""

    def __init__(self, sleep: Callable[[float], object]) -> None:
        self._sleep = sleep
        self._failures = 0

    def progress(self) -> None:
        """Count failures from zero again."""
        self._failures = 0

    def pause(self, error: ClientError) -> None:
        """Wait before the next try. Raises: the error, if there is no next try."""
        after = error.retry_after_seconds
        if after is None or self._failures == len(PAUSES_SECONDS):
            raise error
        self._sleep(max(PAUSES_SECONDS[self._failures], min(after, MAX_PAUSE_SECONDS)))
        self._failures += 1


class _Plain(HTTPConnection):
    """A connection whose time limit is longer once it is connected."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(ANSWER_SECONDS)


class _Secure(HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(ANSWER_SECONDS)

    def send(self, data: Any) -> None:
        """Send a piece. Raises: BrokenPipeError: urllib3 then reads the answer."""
        try:
            super().send(data)
        except TLS_BROKEN as exc:
            raise BrokenPipeError(errno.EPIPE, "The peer has closed") from exc


class Transport:
    """Sends requests to one gateway. Thread-safe.

    Raises: ClientError: the URL or the token is not valid.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        sleep: Callable[[float], object] = time.sleep,
        bytes_per_second: float | None = None,
    ) -> None:
        self.url = url
        self._sleep = sleep
        self.throttle = Throttle(bytes_per_second, sleep)
        """For the bodies of objects."""
        self.piece_bytes = self.throttle.piece(PIECE_BYTES)
        self._was_there = False
        """Whether a connection ever succeeded; then a refused one is transient."""
        self._headers = {"User-Agent": "amazin", "Accept-Encoding": "identity"}
        if token:
            if not (token.isascii() and token.isprintable()) or " " in token:
                raise ClientError("A token is printable ASCII without spaces")
            self._headers["Authorization"] = f"Bearer {token}"
        proxy = proxy_for(url)
        self._via = f" through the proxy {without_credentials(proxy)}" if proxy else ""
        """For errors."""
        self._pool, self._base = pool_of(url, proxy)

    def close(self) -> None:
        """Close the idle connections. No more requests can be sent."""
        self._pool.close()

    def patience(self) -> Patience:
        """Return the limit of tries for one operation."""
        return Patience(self._sleep)

    def send_once(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """Send a request; return the 2xx answer, whose body is not read yet.

        Raises: RefusedError: another status. ClientError: no usable answer.
        """
        try:
            answer = self._pool.urlopen(
                method,
                self._base + path,
                body=body() if body else None,
                headers={**self._headers, **(headers or {})},
                retries=False,
                redirect=False,
                assert_same_host=False,  # of a proxy it is another one
                preload_content=False,
                decode_content=False,
            )
        except (exceptions.HTTPError, OSError) as exc:
            self._was_there |= not isinstance(exc, NOT_CONNECTED)
            raise self._translated(exc) from exc
        self._was_there = True
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer, method)

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, again after transient errors. See `send_once`."""
        patience = self.patience()
        while True:
            try:
                return self.send_once(method, path, headers)
            except ClientError as exc:
                patience.pause(exc)

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        is_repeatable: bool = True,
    ) -> Any:
        """Send a request; return the parsed JSON of the answer.

        If `is_repeatable`, it is sent again after transient errors.

        Raises: as `send_once`.
        """
        patience = self.patience()
        while True:
            try:
                answer = self.send_once(method, path, headers, body)
                return self.read_json(answer)
            except ClientError as exc:
                if not is_repeatable:
                    raise
                patience.pause(exc)

    def read(self, answer: Answer) -> bytes:
        """Return the next piece of an answer's body; b"" at its end.

        Raises: ClientError.
        """
        try:
            return answer.read1(self.piece_bytes, decode_content=False)
        except (exceptions.HTTPError, OSError) as exc:
            raise self._translated(exc) from exc

    def read_json(self, answer: Answer) -> Any:
        """Return the parsed JSON of an answer. Raises: ClientError."""
        data = bytearray()
        try:
            while piece := self.read(answer):
                data += piece
                if len(data) > MAX_JSON_BYTES:
                    raise ClientError(f"{self.url}: the answer has no end")
            return json.loads(data)
        except (ValueError, RecursionError) as exc:
            if "Content-Length" in answer.headers:  # all of it has come
                message = f"{self.url}: the answer is not JSON: is a gateway there?"
                raise ClientError(message) from exc
            raise ClientError(f"{self.url}: the answer broke off", 0.0) from exc
        finally:
            answer.close()  # keeps the connection if all was read

    def finish(self, answer: Answer) -> None:
        """Read the end of an answer and release its connection. Raises: ClientError."""
        self.read(answer)
        answer.close()

    def _refusal(self, answer: Answer, method: str) -> RefusedError:
        body: Any = None
        if method != "HEAD":
            try:
                body = self.read_json(answer)
            except ClientError:
                body = None
        answer.close()
        fields = body if isinstance(body, dict) else {}
        unknown = f"{self.url}{self._via}: HTTP status {answer.status}"
        if method != "HEAD":
            unknown += ", and no word why: is a gateway there?"
        elif answer.status == 401:  # an answer to HEAD has no body that says so
            unknown = "This gateway wants a token"
        sentence = printable(str(fields.get("error") or unknown))
        if answer.status in (401, 403):
            sentence += f"; {TOKEN_HINT}"
        number = fields.get("requestId") or answer.headers.get("X-Request-Id")
        request = printable(str(number)) if number else ""
        if request:
            sentence += f" (request {request})"
        after = answer.headers.get("Retry-After", "")
        seconds = float(after) if after.isdecimal() and after.isascii() else 0.0
        is_lost = LOST_HEADER in answer.headers
        is_transient = answer.status in TRANSIENT_STATUSES and not is_lost
        code = str(fields.get("code") or "")
        return RefusedError(
            answer.status, code, sentence, seconds if is_transient else None, request
        )

    def _translated(self, exc: Exception) -> ClientError:
        """Return the ClientError for an exception of urllib3."""
        reasons = (exc, *exc.args, exc.__context__)
        is_broken = any(isinstance(reason, TLS_BROKEN) for reason in reasons)
        if isinstance(exc, exceptions.ClosedPoolError):
            return ClientError("The client is closed")
        if isinstance(exc, exceptions.SSLError) and not is_broken:
            return ClientError(f"{self.url}: TLS: {printable(str(exc))}")
        if isinstance(exc, exceptions.ProxyError):
            told = printable(str(exc.original_error))
            message = f"The proxy of {self.url} doesn't help: {told}; {PROXY_HINT}"
            return ClientError(message, 0.0 if self._was_there else None)
        if isinstance(exc, NOT_CONNECTED) and self._via:
            message = f"No answer from {self.url}{self._via}: {PROXY_HINT}"
            return ClientError(message, 0.0 if self._was_there else None)
        if isinstance(exc, NOT_CONNECTED):
            again = 0.0 if self._was_there else None
            return ClientError(
                f"No gateway answers at {self.url}: {NOWHERE_HINT}", again
            )
        if isinstance(exc, (exceptions.TimeoutError, TimeoutError)):
            return ClientError(f"{self.url}: silent for too long", 0.0)
        if any(
            isinstance(reason, BadStatusLine)
            and not isinstance(reason, RemoteDisconnected)
            for reason in reasons
        ):
            return ClientError(f"{self.url}: what answers there does not speak HTTP")
        return ClientError(f"{self.url}: the connection broke", 0.0)


def pool_of(url: str, proxy: str = "") -> tuple[urllib3.HTTPConnectionPool, str]:
    """Return the connection pool for a URL, and the beginning of all paths.

    With a proxy for plain HTTP that is a whole URL.

    Raises: ClientError: a URL is not valid.
    """
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
        is_usable = bool(host) and parts.scheme in ("http", "https")
        is_usable = is_usable and not any((parts.username, parts.query, parts.fragment))
        if not is_usable or not url.isprintable():
            raise ValueError
    except ValueError:
        raise no_url(url) from None
    options: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
        "maxsize": CONNECTIONS,
        "blocksize": PIECE_BYTES,
    }
    manager: urllib3.PoolManager = urllib3.PoolManager(**options)
    if proxy:
        manager = proxy_manager(proxy, options)
    try:
        pool = manager.connection_from_host(host, port, parts.scheme)
        # Connecting does it: empty or too long labels fail.
        (host or "").encode("idna")
    except (exceptions.HTTPError, UnicodeError):
        raise no_url(url) from None
    is_secure = isinstance(pool, urllib3.HTTPSConnectionPool)
    pool.ConnectionCls = _Secure if is_secure else _Plain
    path = quote(parts.path.rstrip("/"), safe="/%")
    is_whole = proxy and parts.scheme == "http"
    return pool, f"http://{parts.netloc}{path}" if is_whole else path


def proxy_manager(proxy: str, options: Mapping[str, Any]) -> urllib3.ProxyManager:
    """Return what makes connections through a proxy. Raises: ClientError."""
    try:
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login if login != ":" else None)
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    except (exceptions.HTTPError, ValueError):
        shown = without_credentials(proxy)
        raise ClientError(f"HTTP_PROXY: {shown!r} is no URL of an HTTP proxy") from None


def no_url(url: str) -> ClientError:
    """Return the error for a URL that is not valid."""
    url = without_credentials(url)
    return ClientError(f"{url!r} is no URL of a gateway like http://localhost:3000")
