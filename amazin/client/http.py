"""HTTP to a gateway, as a client: one request, its answer, and trying again.

Knows URLs, credentials, connections and errors, but no objects (`objects.py`). What
goes wrong is a `ClientError` with a sentence for people. A request that failed for a
reason that passes (503, a connection that broke) is sent again after a pause, a few
times; a body that can't be had twice is never sent again.
"""

from __future__ import annotations

import errno
import json
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from http.client import BadStatusLine, RemoteDisconnected
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection

from amazin.errors import ClientError, RefusedError
from amazin.logs import without_credentials
from amazin.model.names import printable

PIECE_BYTES = 2**18
PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further try; without any progress no more of them."""
LONGEST_PAUSE_SECONDS = 30.0
"""However long a gateway says to wait."""
TRANSIENT_STATUSES = frozenset((429, 502, 503, 504))
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 300.0
"""For the first byte of an answer, and between two pieces, either way: what was sent
without a length is only passed on to nodes when it is there."""
MAX_JSON_BYTES = 2**26
CONNECTIONS = 32
"""Kept open for the next request; there may be more at a time."""
TOKEN_HINT = "give a token with --token or AMAZIN_TOKEN"
NOWHERE_HINT = "is it running? --url or AMAZIN_URL says where it is"
NOT_CONNECTED = (exceptions.NewConnectionError, exceptions.ConnectTimeoutError)
TLS_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a connection that breaks is under TLS."""

Answer = urllib3.BaseHTTPResponse
Body = Callable[[], Iterable[bytes]]
"""Gives a body from its beginning, each time it is called."""


class Patience:
    """How often something is tried again."""

    def __init__(self, sleep: Callable[[float], object]) -> None:
        self._sleep = sleep
        self._failures = 0

    def progress(self) -> None:
        """Begin to count anew."""
        self._failures = 0

    def pause(self, error: ClientError) -> None:
        """Wait before another try. Raises: the error, if there shall be none."""
        after = error.retry_after_seconds
        if after is None or self._failures == len(PAUSES_SECONDS):
            raise error
        self._sleep(
            max(PAUSES_SECONDS[self._failures], min(after, LONGEST_PAUSE_SECONDS))
        )
        self._failures += 1


class _Plain(HTTPConnection):
    """A connection that gives a server more time for a body than for connecting."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(ANSWER_SECONDS)


class _Secure(HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(ANSWER_SECONDS)

    def send(self, data: Any) -> None:
        """Send a piece. Raises: BrokenPipeError: an answer may be there already."""
        try:
            super().send(data)
        except TLS_BROKEN as exc:
            raise BrokenPipeError(errno.EPIPE, "The peer has closed") from exc


class Transport:
    """Requests to one gateway; threads may share it.

    Raises: ClientError, if the URL or the token can't be one.
    """

    def __init__(
        self, url: str, token: str | None, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.url = url
        self._sleep = sleep
        self._was_there = False
        """Whether anything has ever taken a connection: then it may come back."""
        self._headers = {"User-Agent": "amazin", "Accept-Encoding": "identity"}
        if token:
            if not (token.isascii() and token.isprintable()) or " " in token:
                raise ClientError("A token is printable ASCII without spaces")
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool, self._base = pool_of(url)

    def close(self) -> None:
        """Close the connections that are idle; nothing can be sent any more."""
        self._pool.close()

    def patience(self) -> Patience:
        """Return the patience that one task may have."""
        return Patience(self._sleep)

    def send_once(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """Send a request, and return its 2xx answer, not read yet.

        Raises: RefusedError: another status. ClientError: no answer that can be used.
        """
        try:
            answer = self._pool.urlopen(
                method,
                self._base + path,
                body=body() if body else None,
                headers={**self._headers, **(headers or {})},
                retries=False,
                redirect=False,
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
        """Send a request, again if need be. See `send_once`."""
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
        """Return what an answer's JSON says; asked again, if the answer breaks off.

        Raises: as `send`.
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
        """Return the next piece of an answer as it was sent; b"": it has ended.

        Raises: ClientError.
        """
        try:
            return answer.read1(PIECE_BYTES, decode_content=False)
        except (exceptions.HTTPError, OSError) as exc:
            raise self._translated(exc) from exc

    def read_json(self, answer: Answer) -> Any:
        """Return what a whole answer says. Raises: ClientError."""
        data = bytearray()
        try:
            while piece := self.read(answer):
                data += piece
                if len(data) > MAX_JSON_BYTES:
                    raise ClientError(f"{self.url}: the answer has no end")
            return json.loads(data)
        except (ValueError, RecursionError) as exc:
            if "Content-Length" in answer.headers:  # so all of it has come
                message = f"{self.url}: the answer is not JSON: is a gateway there?"
                raise ClientError(message) from exc
            raise ClientError(f"{self.url}: the answer broke off", 0.0) from exc
        finally:
            answer.close()  # if it was read to its end, its connection lives on

    def finish(self, answer: Answer) -> None:
        """Be done with an answer that has no body to speak of. Raises: ClientError."""
        self.read(answer)
        answer.close()

    def _refusal(self, answer: Answer, method: str) -> RefusedError:
        told: Any = None
        if method != "HEAD":
            try:
                told = self.read_json(answer)
            except ClientError:
                told = None
        answer.close()
        told = told if isinstance(told, dict) else {}
        unknown = f"{self.url}: HTTP status {answer.status}"
        if method != "HEAD":
            unknown += ", and no word why: is a gateway there?"
        sentence = printable(str(told.get("error") or unknown))
        if answer.status in (401, 403):
            sentence += f"; {TOKEN_HINT}"
        number = told.get("requestId") or answer.headers.get("X-Request-Id")
        if number:
            sentence += f" (request {printable(str(number))})"
        after = answer.headers.get("Retry-After", "")
        seconds = float(after) if after.isdecimal() and after.isascii() else 0.0
        is_transient = answer.status in TRANSIENT_STATUSES
        code = str(told.get("code") or "")
        return RefusedError(
            answer.status, code, sentence, seconds if is_transient else None
        )

    def _translated(self, exc: Exception) -> ClientError:
        """Return what an exception of urllib3 means; whether it may pass."""
        reasons = (exc, *exc.args, exc.__context__)
        is_broken = any(isinstance(reason, TLS_BROKEN) for reason in reasons)
        if isinstance(exc, exceptions.SSLError) and not is_broken:
            return ClientError(f"{self.url}: TLS: {printable(str(exc))}")
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


def pool_of(url: str) -> tuple[urllib3.HTTPConnectionPool, str]:
    """Return connections to where a URL points, and the path there.

    Raises: ClientError.
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
    pool: urllib3.HTTPConnectionPool
    try:
        if parts.scheme == "https":
            pool = urllib3.HTTPSConnectionPool(host or "", port, **options)
            pool.ConnectionCls = _Secure
        else:
            pool = urllib3.HTTPConnectionPool(host or "", port, **options)
            pool.ConnectionCls = _Plain
        pool.host.encode("idna")  # as when it connects: no label empty or too long
    except (exceptions.HTTPError, UnicodeError):
        raise no_url(url) from None
    return pool, quote(parts.path.rstrip("/"), safe="/%")


def no_url(url: str) -> ClientError:
    """Return the error for what can't be where a gateway is."""
    url = without_credentials(url)
    url = without_credentials(url)
    return ClientError(f"{url!r} is no URL of a gateway like http://localhost:3000")
