"""Headers that are kept with an object: an allow-list, both ways, and what fits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from amazin.errors import GatewayError, NodeProtocolError
from amazin.model.headers import KEPT, MAX_METADATA_BYTES, escaped_size
from amazin.model.metadata_names import (
    BLOB_METADATA,
    INFRASTRUCTURE,
    object_metadata,
)
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import Label, ObjectInfo, ObjectName, Stamp
from amazin.nodes.s3.answers import metadata_lines
from amazin.nodes.s3.node import S3Node
from amazin.web.headers import (
    DEFAULT_TYPE,
    guessed_type,
    returned_headers,
    uploaded_headers,
)
from tests.support.answers import told
from tests.support.paths import PROJECT
from tests.support.servers import Server

LABEL = Label(Stamp(1_732_200_000_123_456_789, 2**32 - 1), epoch=10**18 - 1)
"""The longest one that an object has."""
REFUSED = [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-Ip",
    "X-Request-Id",
    "X-Request-Start",
    "X-Accel-Redirect",
    "X-Accel-Buffering",
    "X-Sendfile",
    "X-Sendfile-Type",
    "X-Amz-Acl",
    "X-Amz-Date",
    "X-Minio-Replication-Etag",
    "X-Amazin-Stamp",
    "X-Copy-Source",
    "X-Copy-Source-Range",
    "X-Frame-Options",
    "X-Xss-Protection",
    "X-Content-Type-Options",
    "X-Dns-Prefetch-Control",
    "X-Download-Options",
    "X-Permitted-Cross-Domain-Policies",
    "X-Ua-Compatible",
    "X-Content-Security-Policy",
    "X-Content-Security-Policy-Report-Only",
    "X-Webkit-Csp",
]
OTHERS = [
    "Authorization",
    "Cookie",
    "Host",
    "Content-Md5",
    "Content-Location",
    "Strict-Transport-Security",
    "Content-Security-Policy",
    "Set-Cookie",
    "Location",
    "Etag",
    "Transfer-Encoding",
    "Xx-Name",
]


def upload(key: str = "key", **variables: str) -> dict[str, str]:
    """Return what is kept of a blob with these variables in its environ."""
    return uploaded_headers(variables, key, BLOB_METADATA)


def returned(headers: dict[str, str]) -> list[tuple[str, str]]:
    """Return what a download of these headers sends."""
    return returned_headers(headers, BLOB_METADATA)


def variable(name: str) -> str:
    """Return a header's name as WSGI has it."""
    return "HTTP_" + name.upper().replace("-", "_")


def refusal(**variables: str) -> tuple[int, str]:
    """Return how these headers are refused."""
    with pytest.raises(GatewayError) as caught:
        upload(**variables)
    answer = told(caught.value)
    assert answer.message.isascii()
    return answer.status, answer.code


# What is kept


@pytest.mark.parametrize("name", KEPT)
def test_native_headers_are_kept_and_given_back(name: str) -> None:
    headers = upload(**{variable(name): "some value"})
    assert headers == {"Content-Type": DEFAULT_TYPE, name: "some value"}
    assert (name, "some value") in list(returned(headers))


@pytest.mark.parametrize("name", ["X-Colour", "X-A", "X-Mime-Type", "X-1", "X-A-B-C"])
def test_own_headers_are_kept_and_given_back(name: str) -> None:
    headers = upload(**{variable(name): "a \xe9 %"})
    assert headers[name] == "a \xe9 %"
    assert (name, "a \xe9 %") in list(returned(headers))


@pytest.mark.parametrize("name", REFUSED + OTHERS)
def test_all_others_are_dropped_in_both_directions(name: str) -> None:
    assert upload(**{variable(name): "x"}) == {"Content-Type": DEFAULT_TYPE}
    for spelling in (name, name.lower(), name.upper()):
        given = {"Content-Type": "text/plain", spelling: "x"}
        assert list(returned(given)) == [("Content-Type", "text/plain")]


def test_every_excluded_family_is_dropped_with_anything_behind_it() -> None:
    for start in ("Forwarded-", "Real-", "Request-", "Accel-", "Amz-", "Minio-"):
        for end in ("", "A", "For-B"):
            assert variable("X-" + start + end).startswith("HTTP_X_")
            assert len(upload(**{variable("X-" + start + end): "x"})) == 1
    for start in ("Sendfile", "Copy-Source", "Content-Security-Policy", "Webkit-Csp"):
        assert len(upload(**{variable(f"X-{start}-More"): "x"})) == 1


def test_names_that_only_look_like_excluded_ones_are_kept() -> None:
    for name in (
        "X-Amazing",
        "X-Realm",
        "X-Requested-With",
        "X-Forwarder",
        "X-Minions",
    ):
        assert upload(**{variable(name): "x"})[name] == "x"


ADDED = [name for row in INFRASTRUCTURE.values() for name in row.split()]


@pytest.mark.parametrize("name", ADDED)
def test_what_infrastructure_adds_is_no_metadata_of_a_blob(name: str) -> None:
    for shown in (name.replace("*", ""), name.replace("*", "More")):
        for spelling in (shown.title(), shown.lower(), shown.upper()):
            assert not BLOB_METADATA.fullmatch(spelling)


def test_the_list_of_what_infrastructure_adds_is_documented() -> None:
    page = (PROJECT / "docs/headers.md").read_text()
    for title, row in INFRASTRUCTURE.items():
        names = ", ".join(f"`{name}`" for name in row.split())
        assert f"| {title} | {names} |" in page


@pytest.mark.parametrize(
    "name",
    [
        *("X-Mime-Type", "X-Orig-Filename", "X-Original-Filename", "X-Author"),
        *("X-Meta-Api-Key", "X-Amz-Meta-Auth-Token", "X-Amz-Meta-Name", "X-Owner"),
        *("X-Client-Name", "X-Id", "X-Tokens", "X-Sessions", "X-Size", "X-Host-Name"),
    ],
)
def test_a_blob_keeps_all_others(name: str) -> None:
    assert upload(**{variable(name): "x"})[name] == "x"


@pytest.mark.parametrize(
    ("name", "is_kept"),
    [
        *(("X-Meta-Owner", True), ("X-Amz-Meta-Owner", True), ("X-Owner", True)),
        *(("X-Project", True), ("X-Owners", False), ("X-Mime-Type", False)),
        *(("X-Api-Key", False), ("X-Auth-Token", False), ("X-Metadata", False)),
        *(("X-Amz-Metadata", False), ("X-Amazin-Key", False), ("X-Request-Id", False)),
    ],
)
def test_an_object_keeps_its_metadata_and_what_the_setting_names(
    name: str, is_kept: bool
) -> None:
    kept = object_metadata(["X-Owner", "x-project"])
    found = uploaded_headers({variable(name): "x"}, "", kept)
    assert found == {"Content-Type": DEFAULT_TYPE} | ({name: "x"} if is_kept else {})
    assert ((name, "x") in returned_headers({name: "x"}, kept)) is is_kept


def test_what_is_not_kept_of_an_object_never_fails_its_upload() -> None:
    given = {
        "HTTP_X_API_KEY": "k" * 8000,
        "HTTP_X_TRACE": "\x1b",
        "HTTP_X_FOO.BAR": "x",
        **{f"HTTP_X_{number:03}": "x" * 100 for number in range(100)},
    }
    found = uploaded_headers(given, "", object_metadata())
    assert found == {"Content-Type": DEFAULT_TYPE}


def test_what_another_program_stored_can_not_break_an_answer() -> None:
    stored = {
        "Content-Type": "text/html\r\nSet-Cookie: a=b",
        "Content-Language": "de\n",
        "X-Good": "fine",
        "X-Tab": "a\tb",
        "X-Null": "\0",
        "X-Delete": "\x7f",
        "X-Wide": "日本",
        "X-Bad\r\nSet-Cookie": "a=b",
        "X-Sp ace": "x",
        "X-Colon:": "x",
        "X-End-": "x",
        "X-\xe9": "x",
        "X-": "x",
        "": "x",
    }
    assert list(returned(stored)) == [
        ("Content-Type", DEFAULT_TYPE),
        ("X-Good", "fine"),
    ]


# Content types


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"CONTENT_TYPE": "text/plain; charset=utf-8"}, "text/plain; charset=utf-8"),
        ({"CONTENT_TYPE": ""}, "image/png"),
        ({"CONTENT_TYPE": "  "}, "image/png"),
        ({}, "image/png"),
    ],
)
def test_the_type_is_the_uploads_else_guessed(
    given: dict[str, str], expected: str
) -> None:
    assert upload("a.png", **given)["Content-Type"] == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("abc", DEFAULT_TYPE),
        ("", DEFAULT_TYPE),
        ("a.unknown", DEFAULT_TYPE),
        ("folder/page.html", "text/html"),
        ("a.PNG", "image/png"),
        ("a.txt", "text/plain"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.bz2", "application/x-bzip2"),
        ("a.xz", "application/x-xz"),
        ("data:text/html,x", DEFAULT_TYPE),  # a key is never a URL
        ("data:text/html;base64", DEFAULT_TYPE),
        (".png", DEFAULT_TYPE),
    ],
)
def test_types_are_guessed_from_extensions(key: str, expected: str) -> None:
    assert guessed_type(key) == expected


# Values


def test_tabs_become_spaces() -> None:
    assert upload(HTTP_X_A="a\t b\t")["X-A"] == "a  b"


def test_empty_values_are_kept_of_own_headers_only() -> None:
    assert upload(HTTP_X_A="", HTTP_EXPIRES="") == {
        "Content-Type": DEFAULT_TYPE,
        "X-A": "",
    }


@pytest.mark.parametrize("bad", ["a\r\nb", "a\nb", "\0", "\x1b[0m", "\x7f", "日本"])
@pytest.mark.parametrize("name", ["CONTENT_TYPE", "HTTP_CACHE_CONTROL", "HTTP_X_A"])
def test_characters_that_no_header_may_have_are_400(name: str, bad: str) -> None:
    assert refusal(**{name: f"x{bad}x"}) == (400, "InvalidHeader")


@pytest.mark.parametrize("name", ["X_A.B", "X_A_", "X_\xe9", "X_A B", "X_A\n"])
def test_names_that_can_not_come_back_are_400(name: str) -> None:
    assert refusal(**{"HTTP_" + name: "x"}) == (400, "InvalidHeader")


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_CONTENT_ENCODING": "aws-chunked"},
        {"HTTP_CONTENT_ENCODING": "gzip, AWS-Chunked"},
        {"HTTP_X_AMZ_CONTENT_SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
        {"HTTP_X_AMZ_CONTENT_SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
    ],
)
def test_wrapped_bodies_are_501(variables: dict[str, str]) -> None:
    assert refusal(**variables) == (501, "NotSupported")


def test_parts_of_objects_are_400() -> None:
    assert refusal(HTTP_CONTENT_RANGE="bytes 0-4/10") == (400, "PartialUpload")


# What fits


def stored_size(headers: dict[str, str]) -> int:
    """Return what a node counts: it is sent what `metadata_lines` returns."""
    metadata, native = metadata_lines(headers, LABEL)
    return sum(len(name) + len(value) for name, value in [*metadata, *native])


def fitting(character: str, is_native: bool) -> Callable[[int], dict[str, str]]:
    name = "HTTP_CACHE_CONTROL" if is_native else "HTTP_X_A"
    return lambda length: {"CONTENT_TYPE": "a/b", name: character * length}


@pytest.mark.parametrize("is_native", [False, True], ids=["own", "native"])
@pytest.mark.parametrize("character", ["a", "\xe9", "%", "~", "'"])
def test_exactly_2_kib_fit(character: str, is_native: bool) -> None:
    variables = fitting(character, is_native)
    longest = next(
        length for length in count() if stored_size_of(variables(length + 1)) > 2048
    )
    assert stored_size(upload(**variables(longest))) <= MAX_METADATA_BYTES
    assert refusal(**variables(longest + 1)) == (400, "MetadataTooLarge")


def stored_size_of(variables: dict[str, str]) -> int:
    """Return what headers would take, whether they fit or not."""
    names = {"CONTENT_TYPE": "Content-Type", "HTTP_CACHE_CONTROL": "Cache-Control"}
    return stored_size(
        {names.get(name, "X-A"): value for name, value in variables.items()}
    )


def test_spaces_inside_a_value_count_as_they_are_sent() -> None:
    value = " ".join("ab" * 1)
    assert escaped_size(value) == len("a%20b")
    assert stored_size(upload(HTTP_X_A=("a " * 400).strip())) <= MAX_METADATA_BYTES
    assert refusal(HTTP_X_A=("a " * 600).strip()) == (400, "MetadataTooLarge")


def test_many_small_headers_count_with_their_names() -> None:
    variables = {f"HTTP_X_{number:03}": "x" for number in range(200)}
    assert refusal(**variables) == (400, "MetadataTooLarge")


def test_every_character_counts_as_it_is_sent() -> None:
    for code in range(0x20, 0x100):
        lines, _ = metadata_lines({"X-A": chr(code)}, LABEL)
        assert escaped_size(chr(code)) == len(dict(lines)["x-amz-meta-x-a"])


@pytest.mark.integration
def test_minio_stores_all_that_fits_and_little_more(minio_server: Server) -> None:
    node = S3Node(minio_server.spec("node-1"), TimeLimits())
    longest = 2048 - stored_size({"Content-Type": "a/b", "X-A": ""})

    node.make_bucket("store")

    def store(headers: dict[str, str]) -> ObjectInfo:
        return node.start_put(ObjectName("store", "fits"), b"", LABEL, headers).wait()

    taken = upload(CONTENT_TYPE="a/b", HTTP_X_A="%" * (longest // 3))
    store(taken)
    info = node.start_head(ObjectName("store", "fits")).wait()
    assert info.headers == taken
    # The Content-Type counts for us only: what is left of its room, and one byte more.
    room = longest + len("Content-Type") + len("a/b")
    store({"Content-Type": "a/b", "X-A": "a" * room})
    with pytest.raises(NodeProtocolError, match="MetadataTooLarge"):
        store({"Content-Type": "a/b", "X-A": "a" * (room + 1)})
    # MinIO drops an Expires that is no date.
    wide = {
        name: "\xe9" for name in KEPT if name not in ("Content-Encoding", "Expires")
    }
    store({"Content-Type": "text/x-\xe9", **wide})
    info = node.start_head(ObjectName("store", "fits")).wait()
    assert info.headers == {"Content-Type": "text/x-\xe9", **wide}
    node.close()
