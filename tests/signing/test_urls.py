"""Signed URLs: those of others are understood, and no other request passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

import boto3
import pytest
from botocore.config import Config
from hypothesis import assume, example, given
from hypothesis import strategies as st
from minio.credentials import Credentials
from minio.signer import presign_v4

from amazin.errors import SignatureError
from amazin.signing.urls import (
    LONGEST_SECONDS,
    SKEW_SECONDS,
    SignedRequest,
    SigningKey,
    is_signed,
    signed_url,
    verify,
)
from tests.support.answers import told

KEY = SigningKey("amazin", "correct horse battery staple")
BASE = "http://gateway:3000"
PATH = "/objects/photos/2026/sea.jpg"
NOW = 1_800_000_000
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
SENDABLE = st.sampled_from([chr(code) for code in range(33, 127) if code not in b"#[]"])


def read_url(url: str, method: str = "GET", **headers: str) -> SignedRequest:
    """Return the request of a client that sends the URL as it is."""
    parts = urlsplit(url)
    given = {"host": parts.netloc}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    path = unquote_to_bytes(parts.path).decode("utf-8", "surrogateescape")
    return SignedRequest(method, path, parts.query, given.get)


def url_of(path: str = PATH, *, method: str = "GET", expires: int = 60) -> str:
    """Return a URL made here, now."""
    return signed_url(KEY, method, BASE, path, expires, NOW)


def refusal(check: Callable[[], object]) -> tuple[int, str]:
    """Return status and code of what is refused; the reason names no secret."""
    with pytest.raises(SignatureError) as caught:
        check()
    answer = told(caught.value)
    assert KEY.secret not in answer.message
    assert answer.message == str(caught.value)
    return answer.status, answer.code


def code_of(request: SignedRequest, now: float = NOW, key: SigningKey = KEY) -> str:
    """Return the code of a refusal, which is always 403."""
    status, code = refusal(lambda: verify(key, request, now))
    assert status == 403
    return code


# What others make


def test_the_example_of_the_specification() -> None:
    url = signed_url(
        SigningKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        "GET",
        "https://examplebucket.s3.amazonaws.com",
        "/test.txt",
        86400,
        datetime(2013, 5, 24, tzinfo=UTC).timestamp(),
    )
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt"
        "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
        "AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@given(
    method=st.sampled_from(["GET", "PUT"]),
    key=TEXT,
    seconds=st.integers(min_value=0, max_value=4 * 10**9),
    expires=st.integers(min_value=1, max_value=LONGEST_SECONDS),
)
def test_signs_as_the_sdk_of_minio_does(
    method: str, key: str, seconds: int, expires: int
) -> None:
    # We escape these, the SDK doesn't.
    assume(not {".", ".."} & set(key.split("/")) and not key.endswith("/"))
    path = "/objects/" + key
    ours = signed_url(KEY, method, BASE, path, expires, seconds)
    theirs = presign_v4(
        method=method,
        url=urlsplit(BASE)._replace(path=quote(path)),
        region="us-east-1",
        credentials=Credentials(KEY.key_id, KEY.secret),
        date=datetime.fromtimestamp(seconds, UTC),
        expires=expires,
    )
    place, _, query = ours.partition("?")
    assert place == BASE + theirs.path
    assert sorted(parse_qsl(query)) == sorted(parse_qsl(theirs.query))


@pytest.fixture(scope="module")
def s3() -> Any:
    """A boto3 client that signs for the gateway, in a region of its own."""
    return boto3.client(
        "s3",
        endpoint_url=BASE + "/objects",
        aws_access_key_id=KEY.key_id,
        aws_secret_access_key=KEY.secret,
        region_name="eu-central-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


OPERATIONS = {
    "get_object": "GET",
    "put_object": "PUT",
    "head_object": "HEAD",
    "delete_object": "DELETE",
}


@given(operation=st.sampled_from(sorted(OPERATIONS)), key=TEXT)
@example(operation="get_object", key="a b/c//d/../e/./f+g%20h%/ü&?=#/")
@example(operation="put_object", key="../up")
@example(operation="put_object", key="/")
def test_accepts_what_boto3_makes(s3: Any, operation: str, key: str) -> None:
    given = {"Bucket": "photos", "Key": key}
    url = s3.generate_presigned_url(operation, given, ExpiresIn=60)
    request = read_url(url, OPERATIONS[operation])
    assert request.path == f"/objects/photos/{key}"
    assert verify(KEY, request, time.time()) == ["host"]
    assert code_of(read_url(url, "POST"), time.time()) == "WrongMethod"


def test_headers_that_boto3_signs_must_come(s3: Any) -> None:
    given = {"Bucket": "photos", "Key": "a", "ContentType": "text/plain"}
    given |= {"ContentDisposition": "inline;  filename=a"}
    url = s3.generate_presigned_url("put_object", given, ExpiresIn=60)
    headers = {
        "content_type": "text/plain",
        "content_disposition": " inline; filename=a\t",
    }
    covered = verify(KEY, read_url(url, "PUT", **headers), time.time())
    assert covered == ["content-disposition", "content-type", "host"]
    for name in headers:
        others = {key: value for key, value in headers.items() if key != name}
        missing = read_url(url, "PUT", **others)
        assert code_of(missing, time.time()) == "MissingSignedHeader"
        wrong = read_url(url, "PUT", **others, **{name: "image/png"})
        assert code_of(wrong, time.time()) == "SignatureMismatch"


def test_other_parameters_are_covered(s3: Any) -> None:
    given = {"Bucket": "photos", "Key": "a", "ResponseContentType": "text/html; a=b+c"}
    url = s3.generate_presigned_url("get_object", given, ExpiresIn=60)
    assert "response-content-type=" in url
    verify(KEY, read_url(url), time.time())
    altered = read_url(url.replace("html", "css"))
    assert code_of(altered, time.time()) == "SignatureMismatch"
    assert code_of(read_url(url + "&prefix=a"), time.time()) == "SignatureMismatch"


# What is made here


@given(
    method=st.sampled_from(["GET", "PUT"]),
    key=TEXT,
    expires=st.integers(min_value=1, max_value=LONGEST_SECONDS),
    delay=st.floats(min_value=0, max_value=1),
    seconds=st.floats(min_value=0, max_value=4e9),
)
@example(method="GET", key="a/../../b/./.", expires=1, delay=1, seconds=0.75)
def test_is_accepted_while_it_lasts(
    method: str, key: str, expires: int, delay: float, seconds: float
) -> None:
    url = signed_url(KEY, method, BASE, f"/objects/photos/{key}", expires, seconds)
    assert url.isascii()
    assert url.isprintable()
    assert not {".", ".."} & set(urlsplit(url).path.split("/"))
    assert not urlsplit(url).path.endswith("/")
    request = read_url(url, method)
    assert request.path == f"/objects/photos/{key}"
    verify(KEY, request, seconds + delay * expires)
    over = seconds + expires + 1
    assert code_of(request, over) == "ExpiredUrl"


def meaning(url: str) -> object:
    """Return what a request of this URL asks for, however that is written."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True, encoding="latin-1")
    return parts.netloc.lower(), unquote_to_bytes(parts.path), sorted(pairs)


@given(key=TEXT, data=st.data(), char=SENDABLE)
def test_no_other_url_is_accepted(key: str, data: st.DataObject, char: str) -> None:
    url = url_of(f"/objects/photos/{key}")
    start = len("http://")
    place = data.draw(st.integers(min_value=start, max_value=len(url) - 1))
    way = data.draw(st.sampled_from(["replace", "insert", "remove"]))
    kept = url[place:] if way == "insert" else url[place + 1 :]
    altered = url[:place] + ("" if way == "remove" else char) + kept
    assume(meaning(altered) != meaning(url))
    assert code_of(read_url(altered))


@pytest.mark.parametrize("digit", range(64))
def test_every_digit_of_the_signature_counts(digit: int) -> None:
    url = url_of()
    place = len(url) - 64 + digit
    other = "0" if url[place] != "0" else "1"
    altered = url[:place] + other + url[place + 1 :]
    assert code_of(read_url(altered)) == "SignatureMismatch"


@given(
    made_for=st.sampled_from(["GET", "PUT"]),
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "get"]),
)
def test_no_other_method_is_accepted(made_for: str, method: str) -> None:
    assume(method != made_for)
    url = url_of(method=made_for)
    assert code_of(read_url(url, method)) == "WrongMethod"


def test_a_wrong_method_is_told_which_one_is_right() -> None:
    with pytest.raises(SignatureError, match="for PUT only"):
        verify(KEY, read_url(url_of(method="PUT"), "GET"), NOW)


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (SigningKey("amazin", "another secret"), "SignatureMismatch"),
        (SigningKey("other", KEY.secret), "UnknownKeyId"),
        (SigningKey("Amazin", KEY.secret), "UnknownKeyId"),
    ],
)
def test_another_key_is_refused(other: SigningKey, code: str) -> None:
    assert code_of(read_url(url_of()), key=other) == code


def test_key_ids_may_have_slashes_and_no_key_shows_its_secret() -> None:
    key = SigningKey("team/one", "secret")
    url = signed_url(key, "GET", BASE, PATH, 60, NOW)
    assert verify(key, read_url(url), NOW) == ["host"]
    assert "secret" not in repr(key)


def test_clocks_may_differ_by_five_minutes() -> None:
    request = read_url(url_of())
    verify(KEY, request, NOW - SKEW_SECONDS)
    assert code_of(request, NOW - SKEW_SECONDS - 1) == "NotYetValid"


def test_only_an_authentic_url_is_called_expired() -> None:
    altered = read_url(url_of().replace("sea.jpg", "sun.jpg"))
    assert code_of(altered, NOW + 3600) == "SignatureMismatch"


# Malformed


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Algorithm", ["", "AWS4-HMAC-SHA1", "aws4-hmac-sha256"]),
        (
            "Credential",
            [
                "",
                "amazin",
                "amazin/20270115/us-east-1/s3",
                "amazin/20270116/us-east-1/s3/aws4_request",
                "amazin/20270115/us-east-1/ec2/aws4_request",
                "amazin/20270115//s3/aws4_request",
                "amazin/20270115/a b/s3/aws4_request",
                "/20270115/us-east-1/s3/aws4_request",
                "amazin/20270115/us-east-1/s3/aws4_request\n",
                "a" * 129 + "/20270115/us-east-1/s3/aws4_request",
            ],
        ),
        (
            "Date",
            [
                "",
                "20270115T08000Z",
                "2027-01-15T08:00:00Z",
                "20270115T250000Z",
                "20270115T080000",
                "20270115T080000Z\n",
                "20270115T08\u0660\u0660\u0660\u0660Z",
                "1800000000",
            ],
        ),
        (
            "Expires",
            ["", "0", "-1", "604801", "9" * 5000, "60s", "6e1", "1.5", "\u0661"],
        ),
        (
            "SignedHeaders",
            ["", ";", "Host", "host;", "host;host", "range", "host;a", "host;x_y"],
        ),
        ("Signature", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "\u0660" * 64]),
        (
            "Content-Sha256",
            ["", "0" * 63, "A" * 64, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"],
        ),
    ],
)
def test_malformed_parameters(name: str, values: list[str]) -> None:
    parts = urlsplit(url_of())
    assert "X-Amz-Date=20270115T080000Z" in parts.query
    pairs = dict(parse_qsl(parts.query))
    for value in values:
        altered = {**pairs, f"X-Amz-{name}": value}
        query = "&".join(f"{key}={quote(text)}" for key, text in altered.items())
        request = read_url(f"{BASE}{PATH}?{query}")
        assert code_of(request) == "MalformedSignature", value


@pytest.mark.parametrize("index", range(6))
def test_parameters_are_there_once_each(index: int) -> None:
    place, _, query = url_of().partition("?")
    pairs = query.split("&")
    rest = [*pairs[:index], *pairs[index + 1 :]]
    lacking = f"{place}?{'&'.join(rest)}"
    assert is_signed(urlsplit(lacking).query)
    assert code_of(read_url(lacking)) == "MalformedSignature"
    name = pairs[index].partition("=")[0]
    for more in (pairs[index], f"{name}=", name, name.replace("-", "%2D")):
        assert code_of(read_url(f"{place}?{query}&{more}")) == "MalformedSignature"


def test_no_parameter_comes_twice() -> None:
    """Not only those of the signature: which one counts would not be signed."""
    url = url_of() + "&prefix=a&prefix=b"
    assert code_of(read_url(url)) == "MalformedSignature"


def test_no_more_than_a_hundred_parameters_are_read() -> None:
    url = url_of() + "&" * 94
    assert verify(KEY, read_url(url), NOW) == ["host"]
    assert code_of(read_url(url + "&")) == "MalformedSignature"


@given(st.text(st.characters(max_codepoint=0xFF), max_size=60))
@example("%")
@example("%FF=%ff")
@example("X-Amz-Signature=\xff")
def test_any_query_is_refused_or_not_signed(query: str) -> None:
    request = SignedRequest("GET", PATH, query, {"host": "gateway"}.get)
    assert code_of(request) == "MalformedSignature"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", False),
        ("prefix=X-Amz-Signature", False),
        ("x-amz-signature=1", False),
        ("X-Amz-Signature", True),
        ("a&X-Amz-Algorithm=", True),
        ("X%2DAmz%2dDate=1", True),
        ("a=b&&X-Amz-Credential=x", True),
    ],
)
def test_what_claims_to_be_signed(query: str, expected: bool) -> None:
    assert is_signed(query) is expected


# Addresses


def with_host(url: str, host: str) -> SignedRequest:
    """Return the request as a proxy hands it on that names another host."""
    sent = read_url(url)
    return SignedRequest("GET", sent.path, sent.query, {"host": host}.get)


def test_the_host_may_be_sent_in_upper_case() -> None:
    assert verify(KEY, with_host(url_of(), "GATEWAY:3000"), NOW) == ["host"]


def test_another_host_is_refused() -> None:
    assert code_of(with_host(url_of(), "gateway:3001")) == "SignatureMismatch"
    no_host = SignedRequest("GET", PATH, urlsplit(url_of()).query, lambda name: None)
    assert code_of(no_host) == "MissingSignedHeader"


@pytest.mark.parametrize(
    "public_url",
    [
        "https://storage.example.com",
        "https://storage.example.com/",
        "https://storage.example.com:443",
        "https://Storage.example.com",
    ],
)
def test_the_public_address_counts_whatever_the_proxy_sends(public_url: str) -> None:
    url = signed_url(KEY, "GET", public_url, PATH, 60, NOW)
    assert url.startswith(f"https://storage.example.com{PATH}?")
    for host in ("gateway:3000", "storage.example.com"):
        request = with_host(url, host)
        assert verify(KEY, request, NOW, public_url) == ["host"]
    hidden = with_host(url, "gateway:3000")
    status, code = refusal(lambda: verify(KEY, hidden, NOW, "https://other.example"))
    assert (status, code) == (403, "SignatureMismatch")


def test_our_own_address_counts_beside_the_public_one() -> None:
    request = read_url(url_of())
    assert verify(KEY, request, NOW, "https://storage.example.com") == ["host"]


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://node:80", "node"),
        ("http://node:443", "node:443"),
        ("https://node:443", "node"),
        ("https://node:80", "node:80"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("http://[::80]", "[::80]"),
        ("http://user:word@node:9000", "node:9000"),
    ],
)
def test_a_url_has_the_host_that_clients_send(base: str, host: str) -> None:
    url = signed_url(KEY, "GET", base, PATH, 60, NOW)
    assert urlsplit(url).netloc == host
    assert verify(KEY, read_url(url), NOW) == ["host"]
