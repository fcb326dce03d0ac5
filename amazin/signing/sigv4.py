"""AWS Signature Version 4 in the Authorization header, for one key and region.

Bodies are not hashed (`UNSIGNED-PAYLOAD`). The signing key of the day is cached, so a
signature costs three hashes.

Source: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
PAYLOAD = "UNSIGNED-PAYLOAD"


def canonical_path(bucket: str, key: str = "") -> str:
    """Return `/bucket/key` percent-encoded, as it is both sent and signed."""
    path = f"/{bucket}/{key}" if key else f"/{bucket}"
    return quote(path, safe="/-_.~")


def canonical_query(parameters: Sequence[tuple[str, str]]) -> str:
    """Return a query as it is both sent and signed."""
    pairs = [(quote(name, "-_.~"), quote(value, "-_.~")) for name, value in parameters]
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def derived_key(secret: str, scope: str) -> bytes:
    """Return the signing key for a scope, `day/region/service/aws4_request`."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


class Moment(NamedTuple):
    """The values that all signatures of one second have in common."""

    second: int
    headers: Sequence[tuple[str, str]]
    names: str
    """The names of `headers` as they are signed if there are no other headers."""
    signed: str
    lines: str
    credential: str
    """The beginning of the header `Authorization`."""
    hmac: hmac.HMAC
    """Covers the text to be signed up to the hash of the request."""


class Signer:
    """Signs requests to one host."""

    def __init__(
        self,
        host: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self._clock = clock
        self._day = ("", b"", "")
        self._moment = self._moment_of(0)

    def sign(
        self,
        method: str,
        path: str,
        amz_headers: Sequence[tuple[str, str]] = (),
        query: str = "",
    ) -> str:
        """Return the header lines that authorise a request.

        `path` and `query` are canonical. `amz_headers` are additional `x-amz-` headers,
        in lower case, to be sent and signed. The lines include Host and end in CRLF.
        """
        moment = self._moment
        second = int(self._clock())
        if moment.second != second:
            self._moment = moment = self._moment_of(second)
        if amz_headers:
            headers = sorted([*moment.headers, *amz_headers])
            names = ";".join(map(itemgetter(0), headers))
            signed = lines = ""
            for name, value in headers:
                signed += f"{name}:{value}\n"
                lines += f"{name}: {value}\r\n"
        else:
            names, signed, lines = moment.names, moment.signed, moment.lines
        request = f"{method}\n{path}\n{query}\n{signed}\n{names}\n{PAYLOAD}"
        hashed = sha256(request.encode("latin-1")).hexdigest()
        signature = moment.hmac.copy()
        signature.update(hashed.encode())
        return (
            f"{lines}{moment.credential}, "
            f"SignedHeaders={names}, Signature={signature.hexdigest()}\r\n"
        )

    def _moment_of(self, second: int) -> Moment:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        key, scope = self._key_of_day(now[:8])
        headers = [
            ("host", self._host),
            ("x-amz-content-sha256", PAYLOAD),
            ("x-amz-date", now),
        ]
        return Moment(
            second,
            headers,
            ";".join([name for name, _ in headers]),
            "".join([f"{name}:{value}\n" for name, value in headers]),
            "".join([f"{name}: {value}\r\n" for name, value in headers]),
            f"Authorization: {ALGORITHM} Credential={self._access_key}/{scope}",
            hmac.new(key, f"{ALGORITHM}\n{now}\n{scope}\n".encode(), sha256),
        )

    def _key_of_day(self, day: str) -> tuple[bytes, str]:
        kept_day, key, scope = self._day
        if kept_day != day:
            scope = f"{day}/{self._region}/s3/aws4_request"
            key = derived_key(self._secret_key, scope)
            self._day = (day, key, scope)
        return key, scope
