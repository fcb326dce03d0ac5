"""What is done where granian does otherwise than PEP 3333 says."""

from __future__ import annotations

import io
from typing import Any

import pytest

from amazin.errors import HTTPError
from amazin.web.bodies import open_body
from amazin.web.headers import uploaded_headers
from amazin.web.server_quirks import encodable, is_granian
from amazin.web.spool import SpoolRoom

GRANIAN = {"SERVER_SOFTWARE": "Granian"}


def test_granian_is_known_by_its_name() -> None:
    assert is_granian(GRANIAN)
    assert not is_granian({"SERVER_SOFTWARE": "gunicorn/27.0.1"})
    assert not is_granian({})


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"plain", "plain"),
        (b"caf\xc3\xa9", "caf\xe9"),
        (b"caf\xe9", "caf\xe9"),
        (b"\xe2\x82\xac", "\u20ac"),
    ],
)
def test_headers_that_are_utf_8_keep_their_bytes(sent: bytes, text: str) -> None:
    assert encodable([("X-A", sent.decode("latin-1"))]) == [("X-A", text)]


def test_a_chunked_body_is_refused(tmp_path: Any) -> None:
    environ = {
        **GRANIAN,
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(b"perhaps not all"),
    }
    with pytest.raises(HTTPError) as refusal:
        open_body(environ, 100, SpoolRoom(str(tmp_path), 100))
    assert refusal.value.status == 411


@pytest.mark.parametrize(
    "variable", ["HTTP_X_A", "CONTENT_TYPE", "HTTP_CONTENT_DISPOSITION"]
)
def test_a_header_that_may_be_lost_is_refused(variable: str) -> None:
    uploaded_headers({variable: ""}, "k")
    with pytest.raises(HTTPError, match="is empty, or not ASCII"):
        uploaded_headers({**GRANIAN, variable: ""}, "k")


def test_headers_that_are_not_kept_may_be_empty() -> None:
    environ = {**GRANIAN, "HTTP_X_FORWARDED_FOR": "", "HTTP_ACCEPT": ""}
    assert uploaded_headers(environ, "k") == {
        "Content-Type": "application/octet-stream"
    }
