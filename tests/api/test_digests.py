"""What a client says about its bytes is checked, on every way by which they come."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from amazin.api import blob_server
from amazin.api.blob_server import FolderServices
from amazin.blobs.folder_store import BlobFolder
from amazin.model.digests import new_hash
from amazin.model.objects import CHUNK_BYTES
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.app import Answer, Input, Site, call, make_app
from tests.support.cleanup import closed_later
from tests.support.collision import FIRST, SECOND, SHA1

PART = 100_000
BODIES = [b"", b"a cat", bytes(range(256)) * 1024, bytes(range(256)) * 1500]
"""Empty; small; just one piece; two pieces, which are four parts."""
OTHER = b"what was there before"


def digests(body: bytes) -> dict[str, str]:
    """Return all headers that tell of these bytes."""

    def encoded(algorithm: str) -> str:
        hashed = new_hash(algorithm)
        hashed.update(body)
        return b64encode(hashed.digest()).decode()

    checksums = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
    return {
        "Content-MD5": encoded("md5"),
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        **{f"x-amz-checksum-{name}": encoded(name) for name in checksums},
        "Content-Digest": f"sha-256=:{encoded('sha256')}:",
        "Repr-Digest": f"md5=:{encoded('md5')}:, sha-512=:{encoded('sha512')}:",
    }


class Way(NamedTuple):
    """How bytes are uploaded, and read again."""

    method: str
    path: str
    headers: Mapping[str, str]
    shown_at: str
    is_chunked: bool = False


CHUNKED = {"Transfer-Encoding": "chunked"}
IF_ABSENT = {"If-None-Match": "*"}
WAYS = {
    "object": Way("PUT", "/object/cat", {}, "/object/cat"),
    "object, chunked": Way("PUT", "/object/cat", CHUNKED, "/object/cat", True),
    "object, absent": Way("PUT", "/object/cat", IF_ABSENT, "/object/cat"),
    "bucket": Way("PUT", "/objects/photos/a/b", {}, "/objects/photos/a/b"),
    "bucket, chunked": Way(
        "PUT", "/objects/photos/a/b", CHUNKED, "/objects/photos/a/b", True
    ),
    "upload": Way("POST", "/upload", {}, "/fetch/{sha1}"),
    "upload, chunked": Way("POST", "/upload", CHUNKED, "/fetch/{sha1}", True),
    "blob": Way("POST", "/blob/mia", {}, "/blob/mia"),
    "blob, chunked": Way("POST", "/blob/mia", CHUNKED, "/blob/mia", True),
}


def send(app: Gateway, way: Way, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Upload."""
    environ = {"wsgi.input_terminated": True} if way.is_chunked else {}
    data = Input(body) if way.is_chunked else body
    given = {**way.headers, **headers}
    return call(app, way.method, way.path, data, given, environ=environ)


def shown(app: Gateway, way: Way, body: bytes) -> Answer:
    """Read what should be stored."""
    path = way.shown_at.format(sha1=hashlib.sha1(body).hexdigest())
    return call(app, "GET", path)


def gateway(nodes: list[Node], replicas: int = 1) -> Gateway:
    """Return a gateway that splits objects, with a bucket."""
    settings = Settings(blob_api=True, replicas=replicas, chunk_bytes=PART)
    app = make_app(nodes, settings)
    assert call(app, "POST", "/buckets/photos").status == 201
    return app


def blob_app(folder: Path) -> Gateway:
    """Return a blob server."""
    services = FolderServices(BlobFolder(folder), Settings(), SpoolRoom("nowhere", 0))
    return closed_later(Gateway(blob_server.routes(Settings()), services))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """A way to upload."""
    return WAYS[request.param]


@pytest.fixture
def app(way: Way, nodes: list[Node], tmp_path: Path) -> Gateway:
    """What serves it."""
    return blob_app(tmp_path) if "/blob/" in way.path else gateway(nodes)


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_what_is_true_is_stored(app: Gateway, way: Way, body: bytes) -> None:
    answer = send(app, way, body, digests(body))
    assert answer.status == (201 if way.method == "PUT" else 200)
    found = shown(app, way, body)
    assert (found.status, found.body) == (200, body)
    kept = {name.lower() for name in found.headers}
    assert kept.isdisjoint(name.lower() for name in digests(body))


def test_what_is_wrong_is_400_and_nothing_is_stored(app: Gateway, way: Way) -> None:
    for body in BODIES:
        right, others = digests(body), digests(body + b"x")
        for name, other in others.items():
            answer = send(app, way, body, {**right, name: other})
            assert (answer.status, answer.code) == (400, "BadDigest"), name
            assert name.lower() in answer.json["error"].lower()
            assert shown(app, way, body).status == 404


def test_what_is_malformed_is_400(app: Gateway, way: Way) -> None:
    for name in digests(b""):
        answer = send(app, way, b"a cat", {name: "sha-256=nonsense"})
        assert (answer.status, answer.code) == (400, "InvalidDigest"), name
        assert shown(app, way, b"a cat").status == 404


def test_what_is_announced_as_a_trailer_is_501(app: Gateway, way: Way) -> None:
    for name in (*digests(b""), "x-amz-checksum-xxhash64"):
        for announced in ({"Trailer": f"X-Some,{name}"}, {"x-amz-trailer": name}):
            answer = send(app, way, b"a cat", announced)
            assert (answer.status, answer.code) == (501, "NotSupported"), name
            assert "trailer" in answer.json["error"]
            assert shown(app, way, b"a cat").status == 404
    other = {"Trailer": "X-Some, Server-Timing", **digests(b"a cat")}
    assert send(app, way, b"a cat", other).status in (200, 201)


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_what_was_there_stays(site: Site, body: bytes) -> None:
    app = gateway(*site)
    for name in ("object", "bucket", "bucket, chunked"):
        way = WAYS[name]
        assert send(app, way, OTHER, {}).status == 201
        wrong = {"x-amz-checksum-crc32c": digests(OTHER)["x-amz-checksum-crc32c"]}
        assert send(app, way, body, wrong).status == 400
        assert shown(app, way, OTHER).body == OTHER


def test_a_conditional_upload_is_checked(nodes: list[Node]) -> None:
    app = gateway(nodes)
    etag = send(app, WAYS["object"], OTHER, {}).headers["ETag"]
    headers = {"If-Match": etag, "Content-MD5": digests(b"x")["Content-MD5"]}
    for body in BODIES:
        assert send(app, WAYS["object"], body, headers).code == "BadDigest"
    assert shown(app, WAYS["object"], OTHER).body == OTHER


def test_the_last_piece_is_not_sent_before_all_is_known(nodes: list[Node]) -> None:
    app = make_app(nodes, Settings(chunk_bytes=0))
    body = bytes(5 * CHUNK_BYTES)
    wrong = {"Content-MD5": digests(b"x")["Content-MD5"]}
    assert send(app, WAYS["object"], body, wrong).code == "BadDigest"
    assert shown(app, WAYS["object"], body).status == 404


def test_algorithms_that_are_unknown_are_passed_by(app: Gateway, way: Way) -> None:
    headers = {"Content-Digest": "sha-3=:AAAA:, unixsum=:AAAA:", "Repr-Digest": "a=1"}
    assert send(app, way, b"a cat", headers).status < 300


def test_bodies_of_json_are_checked(nodes: list[Node]) -> None:
    app = gateway(nodes)
    body = json.dumps({"keys": ["a/b"]}).encode()
    assert send(app, WAYS["bucket"], b"x", {}).status == 201
    path = "/objects/photos/delete"
    headers = {"Content-Type": "application/json"}
    wrong = {**headers, "Content-MD5": digests(b"x")["Content-MD5"]}
    assert call(app, "POST", path, body, wrong).code == "BadDigest"
    assert shown(app, WAYS["bucket"], b"x").status == 200
    right = {**headers, **digests(body)}
    assert call(app, "POST", path, body, right).status == 200
    assert shown(app, WAYS["bucket"], b"x").status == 404


def test_a_copy_has_no_bytes_of_its_own(nodes: list[Node]) -> None:
    app = gateway(nodes)
    assert send(app, WAYS["bucket"], b"a cat", {}).status == 201
    source = {"X-Copy-Source": "/photos/a/b"}
    for body, status in ((b"", 201), (b"a cat", 400)):
        for name, value in digests(body).items():
            given = {**source, name: value}
            copied = call(app, "PUT", "/objects/photos/copy", b"", given)
            assert copied.status == status, name


# Presigned URLs

KEY_ID, SECRET = "amazin", "correct-horse-battery-staple"


@pytest.fixture
def shop() -> Gateway:
    """An application for signed URLs, with the bucket `photos`."""
    settings = Settings(access="signed", api_tokens=("token",), signing_secret=SECRET)
    app = make_app(settings=settings)
    bearer = {"Authorization": "Bearer token"}
    assert call(app, "POST", "/buckets/photos", b"", bearer).status == 201
    return app


def follow(
    app: Gateway, url: str, body: bytes, headers: Mapping[str, str] | None = None
) -> Answer:
    """Upload to a URL."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}"
    return call(app, "PUT", target, body, {"Host": parts.netloc, **(headers or {})})


def signed_by_boto(**given: str) -> str:
    """Return a URL for an upload with these parameters."""
    client = boto3.client(
        "s3",
        endpoint_url="http://gateway:3000/objects",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="eu-west-3",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    place = {"Bucket": "photos", "Key": "cat"}
    return str(client.generate_presigned_url("put_object", {**place, **given}))


@pytest.mark.parametrize(
    ("parameter", "header"),
    [("ContentMD5", "Content-MD5"), ("ChecksumSHA256", "x-amz-checksum-sha256")],
)
def test_a_digest_that_a_url_signs_is_checked(
    shop: Gateway, parameter: str, header: str
) -> None:
    value = digests(b"a cat")[header]
    url = signed_by_boto(**{parameter: value})
    assert header.lower() in url.lower()
    said = {} if f"{header.lower()}=" in url.lower() else {header: value}
    if parameter == "ChecksumSHA256":
        said["x-amz-sdk-checksum-algorithm"] = "SHA256"
    refused = follow(shop, url, b"a dog", said)
    assert (refused.status, refused.code) == (400, "BadDigest")
    assert follow(shop, url, b"a cat", said).status == 201


def signed_by_hand(
    query: str = "",
    headers: Mapping[str, str] | None = None,
    payload: str = "UNSIGNED-PAYLOAD",
) -> str:
    """Return a URL with this query and these headers, as other signers make it."""
    url = f"http://gateway:3000/objects/photos/cat?{query}"
    request = AWSRequest("PUT", url, headers=headers)
    auth = S3SigV4QueryAuth(Credentials(KEY_ID, SECRET), "s3", "eu-west-3", expires=60)
    auth.payload = lambda request: payload
    auth.add_auth(request)
    return str(request.url)


@pytest.mark.parametrize("name", ["x-amz-checksum-crc32", "X-Amz-Checksum-Sha256"])
def test_a_checksum_in_the_query_of_a_url_is_checked(shop: Gateway, name: str) -> None:
    value = digests(b"a cat")[name.lower()]
    url = signed_by_hand(f"{name}={quote(value, safe='')}")
    refused = follow(shop, url, b"a dog")
    assert (refused.status, refused.code) == (400, "BadDigest")
    assert follow(shop, url, b"a cat").status == 201
    mended = url.replace(quote(value, safe=""), quote(digests(b"a dog")[name.lower()]))
    assert follow(shop, mended, b"a dog").code == "SignatureMismatch"


HASH = hashlib.sha256(b"a cat").hexdigest()


@pytest.mark.parametrize(
    ("query", "headers", "payload"),
    [
        (f"X-Amz-Content-Sha256={HASH}", {}, HASH),
        ("", {"x-amz-content-sha256": HASH}, HASH),
        ("", {"x-amz-content-sha256": HASH}, "UNSIGNED-PAYLOAD"),
    ],
)
def test_the_hash_of_a_body_may_be_signed(
    shop: Gateway, query: str, headers: dict[str, str], payload: str
) -> None:
    url = signed_by_hand(query, headers, payload)
    assert follow(shop, url, b"a dog", headers).code == "BadDigest"
    assert follow(shop, url, b"a cat", headers).status == 201
    if headers:
        other = {"x-amz-content-sha256": hashlib.sha256(b"a dog").hexdigest()}
        assert follow(shop, url, b"a dog", other).code == "SignatureMismatch"


# One SHA-1


@pytest.mark.parametrize("more", [b"", bytes(3 * PART)], ids=len)
def test_two_contents_with_one_sha1_are_never_taken_for_each_other(
    site: Site, more: bytes
) -> None:
    app = gateway(*site)
    upload = WAYS["upload"]
    assert send(app, upload, FIRST + more, {}).status == 200
    for _ in range(2):
        refused = send(app, upload, SECOND + more, {})
        assert (refused.status, refused.code) == (409, "DifferentContent")
    assert send(app, upload, FIRST + more, {}).status == 200
    assert shown(app, upload, SECOND + more).body == FIRST + more


def test_blob_servers_refuse_the_second_content_of_an_id(tmp_path: Path) -> None:
    app = blob_app(tmp_path)
    path = f"/blob/{SHA1}"
    assert call(app, "POST", path, FIRST).status == 200
    refused = call(app, "POST", path, SECOND)
    assert (refused.status, refused.code) == (409, "DifferentContent")
    assert call(app, "GET", path).body == FIRST


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_id_that_looks_like_a_sha1_is_that_of_the_bytes(
    tmp_path: Path, is_chunked: bool
) -> None:
    app = blob_app(tmp_path)
    way = Way("POST", f"/blob/{SHA1}", CHUNKED if is_chunked else {}, "", is_chunked)
    for body in BODIES:
        refused = send(app, way, body, {})
        assert (refused.status, refused.code) == (400, "BadDigest")
        assert call(app, "GET", way.path).status == 404
    assert send(app, way, FIRST, {}).status == 200
    for body in BODIES:
        assert send(app, way, body, {}).status in (400, 409)
