"""Signatures are what AWS's examples and another signer say they are."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from minio.credentials import Credentials
from minio.signer import sign_v4_s3

from amazin.signing.sigv4 import PAYLOAD, Signer, canonical_path

VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


def parse_lines(text: str) -> dict[str, str]:
    assert text.endswith("\r\n")
    return dict(line.split(": ", 1) for line in text[:-2].split("\r\n"))


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    seconds=st.integers(min_value=0, max_value=4 * 10**9),
    secret=st.text(VISIBLE, min_size=1, max_size=40),
    metadata=st.dictionaries(NAMES, st.text(VISIBLE, max_size=30), max_size=5),
)
def test_signs_as_the_sdk_does(
    method: str, key: str, seconds: int, secret: str, metadata: dict[str, str]
) -> None:
    amz_headers = [(f"x-amz-meta-{name}", value) for name, value in metadata.items()]
    signer = Signer("node:9000", "AKID", secret, "us-east-1", lambda: seconds)
    path = canonical_path("store", key)
    lines = parse_lines(signer.sign(method, path, amz_headers))
    authorization = lines.pop("Authorization")
    date = datetime.fromtimestamp(seconds, UTC)
    assert lines["x-amz-date"] == date.strftime("%Y%m%dT%H%M%SZ")
    signed = sign_v4_s3(
        method=method,
        url=urlsplit(f"http://node:9000{path}")._replace(path=path),
        region="us-east-1",
        headers=dict(lines),
        credentials=Credentials("AKID", secret),
        content_sha256=PAYLOAD,
        date=date,
    )
    assert authorization == signed["Authorization"]
    assert {*lines} == {"host", "x-amz-content-sha256", "x-amz-date"} | {
        name for name, _ in amz_headers
    }


def test_a_known_signature() -> None:
    """Computed once with the SDK's signer: a change of both would be seen, too."""
    signer = Signer(
        "examplebucket.s3.amazonaws.com",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        clock=lambda: datetime(2013, 5, 24, tzinfo=UTC).timestamp(),
    )
    lines = parse_lines(signer.sign("GET", "/test.txt"))
    assert lines["Authorization"] == (
        "AWS4-HMAC-SHA256 "
        "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=5c0d4ff29e72b8f94c5b6720369921e587e39bf7a64e456887dec4b43a2d1b77"
    )


def test_the_day_changes_at_midnight_utc() -> None:
    now = [86399.0]
    signer = Signer("node", "AKID", "secret", clock=lambda: now[0])
    before = signer.sign("GET", "/store")
    now[0] += 1
    after = signer.sign("GET", "/store")
    assert "/19700101/" in before
    assert "/19700102/" in after
    fresh = Signer("node", "AKID", "secret", clock=lambda: now[0])
    assert after == fresh.sign("GET", "/store")


def test_paths_are_escaped_once() -> None:
    assert canonical_path("store") == "/store"
    assert canonical_path("store", "a b/ü%2F?~") == "/store/a%20b/%C3%BC%252F%3F~"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_key_leaves_the_request_line(key: str) -> None:
    path = canonical_path("store", key)
    assert path.isascii()
    assert not set(" ?#\r\n\0") & set(path)
