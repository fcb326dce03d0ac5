"""What the answers of an S3 server mean, and what it keeps with an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amazin.errors import (
    GatewayError,
    NodeAccessError,
    NodeBusyError,
    NodeError,
    NodeFullError,
    NodeProtocolError,
    NodeTimeoutError,
    NoSuchBucketError,
    NoSuchKeyError,
    PreconditionError,
)
from amazin.model.headers import read_modified
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import Label, Stamp
from amazin.nodes.s3.answers import (
    metadata_lines,
    read_label,
    stored_headers,
)
from amazin.nodes.s3.node import S3Node
from tests.support.peers import STAY_SILENT, TAKE_REQUEST, answer
from tests.support.s3_peers import (
    LABEL,
    LARGE,
    MODIFIED,
    MODIFIED_NS,
    NAME,
    OBJECT,
    QUESTIONS,
    S3,
    TAG,
    error,
    get,
    playing,
    put,
    s3_answer,
)

METHODS = pytest.mark.parametrize("method", list(QUESTIONS))


@METHODS
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("400 Bad Request", "InvalidArgument", NodeProtocolError),
        ("401 Unauthorized", "", NodeAccessError),
        ("403 Forbidden", "SignatureDoesNotMatch", NodeAccessError),
        ("405 Method Not Allowed", "MethodNotAllowed", NodeProtocolError),
        ("409 Conflict", "OperationAborted", NodeError),
        ("416 Range Not Satisfiable", "InvalidRange", NodeProtocolError),
        ("301 Moved Permanently", "PermanentRedirect", NodeProtocolError),
        ("429 Too Many Requests", "", NodeBusyError),
        ("500 Internal Server Error", "InternalError", NodeError),
        ("503 Service Unavailable", "SlowDown", NodeBusyError),
        ("507 Insufficient Storage", "", NodeFullError),
    ],
)
def test_errors_by_status(method: str, status: str, code: str, kind: type) -> None:
    data = error(status, code)
    if method == "HEAD":
        data = data[: data.index(b"\r\n\r\n") + 4]
    with (
        playing([TAKE_REQUEST, data]) as (node, _),
        pytest.raises(GatewayError) as caught,
    ):
        QUESTIONS[method](node)
    assert type(caught.value) is kind


def test_a_copy_that_can_not_be_read_does_not_mean_a_busy_node() -> None:
    data = error("503 Service Unavailable", "SlowDownRead")
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeError) as caught:
        get(node)
    assert type(caught.value) is NodeError


@pytest.mark.parametrize("code", ["XMinioStorageFull", "IncompleteBody"])
def test_a_full_node_says_so_by_its_code(code: str) -> None:
    data = error("400 Bad Request", code)
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeFullError):
        put(node)


def test_what_is_not_there() -> None:
    not_found = error("404 Not Found", "NoSuchKey")
    bodiless = s3_answer("404 Not Found", headers=["x-minio-error-code: NoSuchKey"])
    script = [TAKE_REQUEST, not_found, TAKE_REQUEST, bodiless, TAKE_REQUEST, not_found]
    with playing(script) as (node, _):
        with pytest.raises(NoSuchKeyError):
            get(node)
        with pytest.raises(NoSuchKeyError):
            node.start_head(NAME).wait()
        node.start_delete(NAME).wait()


@METHODS
def test_a_missing_bucket_is_a_failure_of_the_node(method: str) -> None:
    missing = error("404 Not Found", "NoSuchBucket")
    if method == "HEAD":
        missing = s3_answer(
            "404 Not Found", headers=["x-minio-error-code: NoSuchBucket"]
        )
    with (
        playing([TAKE_REQUEST, missing]) as (node, _),
        pytest.raises(NoSuchBucketError),
    ):
        QUESTIONS[method](node)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NoSuchKey", NoSuchKeyError),
        ("NoSuchBucket", NoSuchBucketError),
        ("XAdminUserNotFound", NodeAccessError),
    ],
)
def test_what_is_missing_is_asked_for_where_head_does_not_tell(
    code: str, kind: type[GatewayError]
) -> None:
    """versitygw says 404 of an unknown access key, too, and for HEAD nothing else."""
    bodiless = [TAKE_REQUEST, s3_answer("404 Not Found")]
    explained = [TAKE_REQUEST, error("404 Not Found", code)]
    with playing([*bodiless, *explained]) as (node, peer), pytest.raises(kind):
        node.start_head(NAME).wait()
    assert peer.lines == ["HEAD /store/abc", "GET /store/abc"]


def test_a_condition_that_does_not_hold() -> None:
    failed = error("412 Precondition Failed", "PreconditionFailed")
    asked: list[Callable[[S3Node], object]] = [
        lambda node: get(node, if_match="0123"),
        lambda node: node.start_delete(NAME, if_match="0123").wait(),
        lambda node: put(node, if_match="0123"),
        lambda node: put(node, if_absent=True),
    ]
    for ask in asked:
        with (
            playing([TAKE_REQUEST, failed]) as (node, _),
            pytest.raises(PreconditionError),
        ):
            ask(node)


@METHODS
def test_a_condition_that_was_not_set_is_not_judged(method: str) -> None:
    """Or a client would be told that a condition of his own does not hold."""
    failed = answer("412 Precondition Failed", b"", [S3])
    if method == "HEAD":
        failed = failed.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with playing([TAKE_REQUEST, failed]) as (node, _), pytest.raises(NodeProtocolError):
        QUESTIONS[method](node)


@pytest.mark.parametrize("body", [b"hello", bytes(LARGE)], ids=["small", "large"])
@pytest.mark.parametrize(
    ("status", "code"),
    [("412 Precondition Failed", "PreconditionFailed"), ("404 Not Found", "NoSuchKey")],
)
def test_a_condition_that_no_upload_set_is_not_judged(
    body: bytes, status: str, code: str
) -> None:
    probed = [TAKE_REQUEST, s3_answer()] if len(body) == LARGE else []
    script = [*probed, TAKE_REQUEST, error(status, code)]
    with playing(script) as (node, _), pytest.raises(NodeProtocolError):
        put(node, body)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_404_without_a_code_is_not_believed(method: str) -> None:
    with (
        playing([TAKE_REQUEST, s3_answer("404 Not Found")]) as (node, _),
        pytest.raises(NodeProtocolError),
    ):
        QUESTIONS[method](node)


@METHODS
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "403 Forbidden"])
def test_what_is_no_s3_server_is_not_believed(method: str, status: str) -> None:
    """Another service at the node's old address must not make objects vanish."""
    data = answer(status, headers=[TAG, MODIFIED])
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeProtocolError):
        QUESTIONS[method](node)


@pytest.mark.parametrize(
    "data",
    [
        s3_answer(body=b"x", headers=[MODIFIED]),
        s3_answer(body=b"x", headers=[MODIFIED, "ETag: 0123"]),
        s3_answer(body=b"x", headers=[MODIFIED, 'ETag: W/"0123"']),
        s3_answer(body=b"x", headers=[TAG]),
        s3_answer(body=b"x", headers=[TAG, "Last-Modified: yesterday"]),
        s3_answer("206 Partial Content", b"x", [TAG, MODIFIED]),
        s3_answer("204 No Content", headers=[TAG, MODIFIED, "Content-Range: x"]),
        f"HTTP/1.1 200 OK\r\n{S3}\r\n{TAG}\r\n{MODIFIED}\r\n\r\nx".encode(),
    ],
)
def test_an_object_that_makes_no_sense(data: bytes) -> None:
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeProtocolError):
        get(node)


@pytest.mark.parametrize(
    "data",
    [
        OBJECT,
        s3_answer("206 P", b"el", [TAG, MODIFIED]),
        s3_answer("206 P", b"el", [TAG, MODIFIED, "Content-Range: bytes 0-1/5"]),
        s3_answer("206 P", b"ell", [TAG, MODIFIED, "Content-Range: bytes 1-3/5"]),
        s3_answer("206 P", b"e", [TAG, MODIFIED, "Content-Range: bytes 1-2/5"]),
        s3_answer("206 P", b"el", [TAG, MODIFIED, "Content-Range: bytes 1-2/*"]),
        (
            f"HTTP/1.1 206 P\r\n{S3}\r\n{TAG}\r\n{MODIFIED}\r\nContent-Range: bytes "
            "1-2/5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nel\r\n0\r\n\r\n"
        ).encode(),
    ],
)
def test_another_range_is_not_passed_on(data: bytes) -> None:
    with playing([TAKE_REQUEST, data]) as (node, _), pytest.raises(NodeProtocolError):
        get(node, byte_range=(1, 2))


def test_another_version_is_not_passed_on() -> None:
    with (
        playing([TAKE_REQUEST, OBJECT]) as (node, _),
        pytest.raises(NodeProtocolError, match="If-Match"),
    ):
        get(node, if_match="9999")


def test_a_body_that_is_cut_off_raises() -> None:
    with playing([TAKE_REQUEST, OBJECT[:-1]]) as (node, _):
        content = node.start_get(NAME).wait()
        assert content.read() == b"hell"
        with pytest.raises(NodeProtocolError):
            content.read()


def test_a_body_that_stops_raises_at_its_time_limit() -> None:
    limits = TimeLimits(1.0, 1.0, 0.1)
    script = [TAKE_REQUEST, OBJECT[:-1], STAY_SILENT]
    with playing(script, limits=limits) as (node, _):
        content = node.start_get(NAME).wait()
        content.read()
        with pytest.raises(NodeTimeoutError):
            content.read()


LATIN = st.text(st.characters(max_codepoint=0xFF), max_size=50)


@given(LATIN.filter(lambda text: not set(map(chr, range(32))) & set(text)))
@example(" two  spaces ")
@example("100%, %41, %")
@example("Grüße")
@example("")
def test_values_come_back_as_they_were(value: str) -> None:
    if "\x7f" in value:
        return
    metadata, _ = metadata_lines({"X-Name": value}, LABEL)
    for _, sent in metadata:
        assert sent.isascii()
        assert sent == sent.strip()
        assert "  " not in sent
    assert dict(stored_headers(dict(metadata))) == {"X-Name": value}
    assert read_label(dict(metadata)) == LABEL


@given(LATIN | st.text("%0aDd19 ", max_size=20))
@example("a%0D%0ASet-Cookie: b")
@example("%00")
@example("%7F")
def test_no_metadata_of_others_makes_a_control_character(value: str) -> None:
    received = value.translate(dict.fromkeys((*range(32), 127)))
    headers = dict(stored_headers({"x-amz-meta-x-name": received}))
    assert not set(map(chr, (*range(9), *range(10, 32), 127))) & set(headers["X-Name"])


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("5.7", Label(Stamp(5, 7))),
        ("5.7.0", Label(Stamp(5, 7))),
        ("5.7.12", Label(Stamp(5, 7), 12)),
        ("5.7.12.deleted", Label(Stamp(5, 7), 12, True)),
        ("", None),
        ("5.7.12.deleted, 5.7.12", None),
    ],
)
def test_a_label_is_read_with_its_object(text: str, label: Label | None) -> None:
    """Gateways of old wrote no epoch."""
    meta = f"x-amz-meta-amazin-stamp: {text}"
    data = s3_answer(body=b"hello", headers=[TAG, MODIFIED, meta])
    with playing([TAKE_REQUEST, data]) as (node, _):
        content = node.start_get(NAME).wait()
        assert content.info.label == label
        assert content.info.modified_ns == (5 if label else MODIFIED_NS)
        content.close()


@given(
    st.text(max_size=60)
    | st.from_regex(r"[0-9]{1,60}\.[0-9]{1,60}(\.[0-9]{1,60}(\.deleted)?)?")
)
@example("9" * 5000 + ".1")
@example(f"{2**63}.1")
@example("1.2\n")
def test_a_label_of_others_is_one_or_none(text: str) -> None:
    label = read_label({"x-amz-meta-amazin-stamp": text})
    if label is not None:
        assert 0 <= label.stamp.nanoseconds < 2**63
        assert text.isascii()


DATES = st.from_regex(
    r"(Mon, )?[0-9]{1,3} (Jan|Foo) [0-9]{1,6} [0-9]{2}:[0-9]{2}:[0-9]{2} "
    r"(GMT|-0000|[+-][0-9]{1,12})",
    fullmatch=True,
)


@given(DATES | st.text(max_size=40))
@example("Wed, 01 Nov 2023 10:00:00 GMT")
@example("Mon, 01 Jan 0001 00:00:00 +2300")
def test_a_date_is_one_or_an_error(text: str) -> None:
    headers: Mapping[str, str] = {"last-modified": text}
    try:
        modified = read_modified(headers)
    except NodeProtocolError:
        return
    assert modified // 10**9 == int(parsedate_to_datetime(text).timestamp())
