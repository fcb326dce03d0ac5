"""AWS Signature Version 4 in the Authorization header, for one key and region.

Bodies are not hashed (`UNSIGNED-PAYLOAD`). The day's signing key is kept: a
signature then costs three hashes.

Source: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import digest
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
PAYLOAD = "UNSIGNED-PAYLOAD"


def canonical_path(bucket: str, key: str = "") -> str:
    """Return `/bucket/key` as it goes on the request line and under the signature."""
    path = f"/{bucket}/{key}" if key else f"/{bucket}"
    return quote(path, safe="/-_.~")


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

    def sign(
        self, method: str, path: str, amz_headers: Sequence[tuple[str, str]] = ()
    ) -> str:
        """Return the header lines that authorise a request without a query.

        `path` is canonical; `amz_headers` are more `x-amz-` headers, lower case, to be
        sent and signed. The lines include Host and end in CRLF.
        """
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        day_key, scope = self._key_of_day(now[:8])
        headers = [
            ("host", self._host),
            ("x-amz-content-sha256", PAYLOAD),
            ("x-amz-date", now),
            *amz_headers,
        ]
        headers.sort()
        names = ";".join([name for name, _ in headers])
        signed = "".join([f"{name}:{value}\n" for name, value in headers])
        request = f"{method}\n{path}\n\n{signed}\n{names}\n{PAYLOAD}"
        hashed = sha256(request.encode("latin-1")).hexdigest()
        text = f"{ALGORITHM}\n{now}\n{scope}\n{hashed}"
        signature = digest(day_key, text.encode(), "sha256").hex()
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        return (
            f"{lines}Authorization: {ALGORITHM} Credential={self._access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}\r\n"
        )

    def _key_of_day(self, day: str) -> tuple[bytes, str]:
        kept_day, key, scope = self._day
        if kept_day != day:
            scope = f"{day}/{self._region}/s3/aws4_request"
            key = f"AWS4{self._secret_key}".encode()
            for part in scope.split("/"):
                key = digest(key, part.encode(), "sha256")
            self._day = (day, key, scope)
        return key, scope
