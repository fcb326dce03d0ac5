"""The bucket API, on three nodes: what a client is promised, request by request."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest

from amazin.api import buckets, objects
from amazin.model.stored_names import marker_name, stored_name
from amazin.nodes.build import AbsentNode
from amazin.nodes.interface import Node
from amazin.settings.settings import Settings
from gateway import Gateway
from hashing import Ranker
from tests.support.app import Answer, Input, Site, call, call_chunked, make_app

MIB = 2**20
BODY = b"hello, world"
ROUTES = (*objects.ROUTES, *buckets.ROUTES)
NODES = [f"node-{number}" for number in range(1, 4)]
HOSTILE_KEYS = [
    "a",
    "a/b",
    "a//b",
    "/a",
    "a/",
    ".",
    "..",
    "../../etc/passwd",
    "a b/c d",
    "100%",
    "%41",
    "a+b",
    "Zürich/日本語 \U0001f600",
    "line\nbreak",
    "\x01",
    "back\\slash",
    "list/list",
    "k" * 1024,
    "/".join("d" * 200 for _ in range(5)),
    "xl.meta",
    "x/xl.meta/y",
    " ",
    "?query#fragment",
]


def app_on(nodes: list[Node], replicas: int = 1, **changes: bool | str) -> Gateway:
    """Return an application on three nodes, for objects up to 1 MiB."""
    settings = Settings(
        replicas=replicas,
        max_object_bytes=MIB,
        spool_bytes=4 * MIB,
        **changes,  # type: ignore[arg-type]
    )
    return make_app(nodes, settings, routes=ROUTES)


@pytest.fixture
def app(site: Site) -> Gateway:
    """An application with the bucket `photos`, with one or two replicas."""
    app = app_on(*site)
    assert call(app, "POST", "/buckets/photos").status == 201
    return app


@pytest.fixture
def single(nodes: list[Node]) -> Gateway:
    """An application with one replica and no bucket."""
    return app_on(nodes)


def put(
    app: Gateway, key: str = "a/b.txt", body: bytes = BODY, bucket: str = "photos"
) -> Answer:
    """Store an object that wasn't refused."""
    answer = call(app, "PUT", f"/objects/{bucket}/{quote(key)}", body)
    assert answer.status == 201, answer.body
    return answer


def listed(app: Gateway, bucket: str = "photos", **query: str) -> list[str]:
    """Return the keys that a listing has."""
    answer = call(app, "GET", f"/objects/{bucket}/list?{urlencode(query)}")
    assert answer.status == 200, answer.body
    return [entry["key"] for entry in answer.json]


# Buckets


def test_making_a_bucket_is_answered_alike_each_time(single: Gateway) -> None:
    for _ in range(2):
        answer = call(single, "POST", "/buckets/photos")
        assert answer.status == 201
        assert answer.json == {
            "message": "Bucket ensured successfully",
            "bucket": "photos",
        }


def test_buckets_are_listed_in_order(single: Gateway) -> None:
    assert call(single, "GET", "/buckets").json == []
    for bucket in ("b-b", "bbb", "aaa", "b.b"):
        call(single, "POST", f"/buckets/{bucket}")
    answer = call(single, "GET", "/buckets")
    assert answer.status == 200
    assert answer.json == ["aaa", "b-b", "b.b", "bbb"]
    assert call(single, "HEAD", "/buckets").status == 200


def test_a_bucket_can_be_looked_for(app: Gateway) -> None:
    assert call(app, "HEAD", "/buckets/photos").status == 200
    assert call(app, "HEAD", "/buckets/other").status == 404


def test_an_empty_bucket_can_be_removed(app: Gateway) -> None:
    assert call(app, "DELETE", "/buckets/photos").status == 204
    assert call(app, "HEAD", "/buckets/photos").status == 404
    answer = call(app, "DELETE", "/buckets/photos")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


def test_a_bucket_with_an_object_can_not_be_removed(app: Gateway) -> None:
    put(app)
    answer = call(app, "DELETE", "/buckets/photos")
    assert (answer.status, answer.code) == (409, "BucketNotEmpty")
    assert listed(app) == ["a/b.txt"]
    call(app, "DELETE", "/objects/photos/a/b.txt")
    assert call(app, "DELETE", "/buckets/photos").status == 204


@pytest.mark.parametrize(
    "bucket", ["ab", "A-B", "-ab", "a..b", "10.0.0.1", "store", "blobs", "a%20b", ""]
)
def test_a_bad_name_is_422_everywhere(single: Gateway, bucket: str) -> None:
    requests = [
        ("POST", f"/buckets/{bucket}"),
        ("DELETE", f"/buckets/{bucket}"),
        ("GET", f"/objects/{bucket}/key"),
        ("PUT", f"/objects/{bucket}/key"),
        ("DELETE", f"/objects/{bucket}/key"),
        ("GET", f"/objects/{bucket}/list"),
    ]
    if bucket:
        requests.append(("GET", f"/archive/{bucket}"))
    for method, path in requests:
        answer = call(single, method, path, b"" if method == "PUT" else None)
        assert (answer.status, answer.code) == (422, "InvalidBucketName")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/objects/other/key"),
        ("GET", "/objects/other/key"),
        ("DELETE", "/objects/other/key"),
        ("GET", "/objects/other/list"),
        ("GET", "/objects/list"),
        ("POST", "/objects/other/delete"),
        ("GET", "/archive/other"),
        ("DELETE", "/buckets/other"),
    ],
)
def test_a_missing_bucket_is_404(app: Gateway, method: str, path: str) -> None:
    body = {"PUT": BODY, "POST": b'{"keys":["a"]}'}.get(method)
    answer = call(app, method, path, body)
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


# Objects


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=ascii)
def test_what_was_stored_comes_back_under_any_key(app: Gateway, key: str) -> None:
    body = key.encode() * 3
    stored = put(app, key, body)
    assert stored.json["key"] == key
    path = f"/objects/photos/{quote(key)}"
    found = call(app, "GET", path)
    assert (found.status, found.body) == (200, body)
    assert found.headers["ETag"] == stored.headers["ETag"]
    assert call(app, "HEAD", path).headers["Content-Length"] == str(len(body))
    assert listed(app) == [key]
    assert call(app, "DELETE", path).status == 204
    assert call(app, "GET", path).code == "NoSuchObject"
    assert listed(app) == []


def test_hostile_keys_live_side_by_side(app: Gateway) -> None:
    for key in HOSTILE_KEYS:
        put(app, key, key.encode())
    assert listed(app) == sorted(HOSTILE_KEYS, key=str.encode)
    for key in HOSTILE_KEYS:
        assert call(app, "GET", f"/objects/photos/{quote(key)}").body == key.encode()


def test_an_upload_is_answered_with_the_objects_info(app: Gateway) -> None:
    info = put(app).json
    assert list(info) == ["key", "size", "last_modified", "content_type", "etag"]
    assert (info["key"], info["size"]) == ("a/b.txt", len(BODY))
    assert info["content_type"] == "text/plain"
    (entry,) = call(app, "GET", "/objects/photos/list").json
    assert entry == info


def test_metadata_ranges_and_conditions_are_those_of_objects(app: Gateway) -> None:
    headers = {
        "X-Meta-Colour": "blue",
        "Content-Type": "text/x-y",
        "X-Amazin-Key": "hush",
    }
    stored = call(app, "PUT", "/objects/photos/a/b", BODY, headers)
    found = call(app, "GET", "/objects/photos/a/b", headers={"Range": "bytes=-5"})
    assert (found.status, found.body) == (206, b"world")
    assert found.headers["X-Meta-Colour"] == "blue"
    assert found.headers["Content-Type"] == "text/x-y"
    assert found.headers["X-Amazin-Key"] is None
    condition = {"If-None-Match": stored.headers["ETag"]}
    assert call(app, "GET", "/objects/photos/a/b", headers=condition).status == 304
    condition = {"If-Match": '"x"'}
    assert call(app, "HEAD", "/objects/photos/a/b", headers=condition).status == 412


def test_the_long_form_keeps_its_key_to_itself(app: Gateway) -> None:
    key = "k" * 1024
    put(app, key)
    found = call(app, "GET", f"/objects/photos/{key}")
    assert not [name for name in found.headers if name.startswith("X-Amazin")]


def test_a_body_of_unknown_length_is_stored(app: Gateway) -> None:
    answer = call_chunked(app, "/objects/photos/a/b", BODY)
    assert (answer.status, answer.json["size"]) == (201, len(BODY))


def test_a_missing_object_is_told_from_a_missing_bucket(app: Gateway) -> None:
    answer = call(app, "GET", "/objects/photos/a/b")
    assert (answer.status, answer.code) == (404, "NoSuchObject")
    assert call(app, "HEAD", "/objects/photos/a/b").status == 404
    assert call(app, "DELETE", "/objects/photos/a/b").status == 204


@pytest.mark.parametrize(
    "path",
    [
        "/objects/photos/",
        "/objects/",
        "/objects/photos/list",
        "/objects/list",
        "/objects/photos/" + "k" * 1025,
        "/objects/photos/%FF",
        "/objects/photos/%ED%A0%80",
    ],
)
def test_a_bad_key_is_422(app: Gateway, path: str) -> None:
    for method in ("PUT", "DELETE"):
        answer = call(app, method, path, BODY if method == "PUT" else None)
        assert (answer.status, answer.code) == (422, "InvalidKey")


def test_too_large_an_upload_is_refused_before_anything_is_looked_at() -> None:
    nodes = [AbsentNode(name) for name in NODES]  # any look would be 503
    settings = Settings(max_object_bytes=MIB)
    app = make_app(nodes, settings, routes=ROUTES)
    stream = Input(bytes(10))
    headers = {"Content-Length": str(MIB + 1)}
    answer = call(app, "PUT", "/objects/photos/a", stream, headers)
    assert (answer.status, answer.code) == (413, "ObjectTooLarge")


def test_a_missing_bucket_is_told_before_the_body_is_read(single: Gateway) -> None:
    truncated = Input(BODY[:5])  # to read it would be 400
    headers = {"Content-Length": str(len(BODY))}
    answer = call(single, "PUT", "/objects/photos/a", truncated, headers)
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


# The default bucket


def test_one_segment_is_a_key_of_the_default_bucket(single: Gateway) -> None:
    answer = call(single, "PUT", "/objects/cat.txt", BODY)
    assert (answer.status, answer.json["key"]) == (201, "cat.txt")
    for path in ("/objects/cat.txt", "/objects/default/cat.txt"):
        assert call(single, "GET", path).body == BODY
    assert [entry["key"] for entry in call(single, "GET", "/objects/list").json] == [
        "cat.txt"
    ]
    assert call(single, "GET", "/buckets").json == ["default"]
    assert call(single, "HEAD", "/objects/cat.txt").status == 200
    assert call(single, "DELETE", "/objects/cat.txt").status == 204
    assert call(single, "GET", "/objects/cat.txt").code == "NoSuchObject"


def test_its_name_is_a_setting(nodes: list[Node]) -> None:
    app = app_on(nodes, default_bucket="mine")
    assert call(app, "PUT", "/objects/cat.txt", BODY).status == 201
    assert call(app, "GET", "/objects/mine/cat.txt").body == BODY


def test_it_is_made_only_where_that_is_wanted(nodes: list[Node]) -> None:
    app = app_on(nodes, auto_create_default_bucket=False)
    answer = call(app, "PUT", "/objects/cat.txt", BODY)
    assert (answer.status, answer.code) == (404, "NoSuchBucket")
    call(app, "POST", "/buckets/default")
    assert call(app, "PUT", "/objects/cat.txt", BODY).status == 201


# A bucket that is removed during an upload


class ActingInput(Input):
    """A body during whose arrival something else happens."""

    def __init__(self, data: bytes, act: Callable[[], object]) -> None:
        super().__init__(data)
        self._act = act
        self.has_acted = False

    def read(self, size: int | None = -1) -> bytes:
        if not self.has_acted:
            self.has_acted = True
            self._act()
        return super().read(size)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("bucket", ["photos", "default"])
def test_an_upload_into_a_bucket_removed_meanwhile(
    nodes: list[Node], replicas: int, bucket: str
) -> None:
    """It is not acknowledged; the default bucket is made again."""
    app, other = app_on(nodes, replicas), app_on(nodes, replicas)
    call(app, "POST", f"/buckets/{bucket}")
    removals: list[int] = []

    def remove() -> None:
        removals.append(call(other, "DELETE", f"/buckets/{bucket}").status)

    stream = ActingInput(BODY, remove)
    path = f"/objects/{bucket}/a/b"
    answer = call(app, "PUT", path, stream, {"Content-Length": str(len(BODY))})
    assert removals == [204]
    if bucket == "default":
        assert answer.status == 201
        assert listed(other, bucket) == ["a/b"]
    else:
        assert (answer.status, answer.code) == (404, "NoSuchBucket")
        assert call(other, "HEAD", f"/buckets/{bucket}").status == 404


# Listings


TREE = ["a", "a-x", "a/1", "a/2/3", "b/1", "b0", "c c/d", "é"]


@pytest.fixture
def tree(app: Gateway) -> Gateway:
    """An application with a few objects."""
    for key in TREE:
        put(app, key)
    return app


def test_a_listing_has_all_keys_in_order(tree: Gateway) -> None:
    answer = call(tree, "GET", "/objects/photos/list")
    assert [entry["key"] for entry in answer.json] == TREE
    assert {entry["size"] for entry in answer.json} == {len(BODY)}
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", answer.json[0]["last_modified"]
    )
    head = call(tree, "HEAD", "/objects/photos/list")
    assert (head.status, head.body) == (200, b"")


def test_the_listing_of_an_empty_bucket_is_an_empty_array(app: Gateway) -> None:
    answer = call(app, "GET", "/objects/photos/list")
    assert (answer.status, answer.body) == (200, b"[]")


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"prefix": "a/"}, ["a/1", "a/2/3"]),
        ({"prefix": "a"}, ["a", "a-x", "a/1", "a/2/3"]),
        ({"prefix": "nothing"}, []),
        ({"prefix": ""}, TREE),
        ({"limit": "2"}, ["a", "a-x"]),
        ({"limit": "1000000"}, TREE),
        ({"after": "a/2/3"}, ["b/1", "b0", "c c/d", "é"]),
        ({"after": "a/2", "limit": "1"}, ["a/2/3"]),
        ({"after": "é"}, []),
        ({"prefix": "c c"}, ["c c/d"]),
        ({"prefix": "é"}, ["é"]),
        ({"recursive": "true"}, TREE),
        ({"recursive": "false"}, ["a", "a-x", "a/", "b/", "b0", "c c/", "é"]),
        ({"recursive": "false", "prefix": "a/"}, ["a/1", "a/2/"]),
        ({"recursive": "false", "limit": "3", "after": "a"}, ["a-x", "a/", "b/"]),
    ],
)
def test_a_part_of_a_listing(
    tree: Gateway, query: dict[str, str], keys: list[str]
) -> None:
    assert listed(tree, **query) == keys


def test_what_keys_have_in_common_is_shown_as_an_empty_object(tree: Gateway) -> None:
    answer = call(tree, "GET", "/objects/photos/list?recursive=false&prefix=b/&limit=1")
    assert answer.json[0]["key"] == "b/1"
    answer = call(tree, "GET", "/objects/photos/list?recursive=false&after=a-x&limit=1")
    assert answer.json == [
        {
            "key": "a/",
            "size": 0,
            "last_modified": "0001-01-01T00:00:00Z",
            "content_type": "",
            "etag": "",
        }
    ]


def test_pages_add_up_to_the_whole(tree: Gateway) -> None:
    keys: list[str] = []
    while page := listed(tree, limit="3", after=keys[-1] if keys else ""):
        keys += page
    assert keys == TREE


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=" + "9" * 19,
        "recursive=yes",
        "recursive=",
        "recursive=True",
        "prefx=a",
        "prefix=a&prefix=b",
        "prefix=%FF",
        "after=%ED%A0%80",
        "&".join(["x=1"] * 200),
    ],
)
def test_a_query_that_is_wrong_is_400(app: Gateway, query: str) -> None:
    answer = call(app, "GET", f"/objects/photos/list?{query}")
    assert (answer.status, answer.code) == (400, "InvalidQuery")


def test_what_a_signature_adds_to_a_query_is_not_for_the_listing(
    app: Gateway,
) -> None:
    answer = call(app, "GET", "/objects/photos/list?X-Amz-Meta=1&x-amz-meta=2")
    assert answer.json == []


# Nodes that fail


def down_node(bucket: str, keys: list[str]) -> str:
    """Return a node that holds one of the keys, but not the bucket's marker."""
    ranker = Ranker(dict.fromkeys(NODES, 1.0))
    marker = ranker.rank(marker_name(bucket).hash_key)[0]
    homes = {ranker.rank(stored_name(bucket, key)[0].hash_key)[0] for key in keys}
    return min(homes - {marker})


def without(nodes: list[Node], name: str, replicas: int) -> Gateway:
    """Return the same application while one node is away."""
    left = [AbsentNode(node.name) if node.name == name else node for node in nodes]
    return make_app(left, Settings(replicas=replicas), routes=ROUTES)


def test_a_listing_is_503_rather_than_short(nodes: list[Node]) -> None:
    app = app_on(nodes)
    call(app, "POST", "/buckets/photos")
    for key in TREE:
        put(app, key)
    app = without(nodes, down_node("photos", TREE), 1)
    for path in ("/objects/photos/list", "/buckets", "/archive/photos"):
        answer = call(app, "GET", path)
        assert (answer.status, answer.code) == (503, "NodeUnreachable")
    answer = call(app, "DELETE", "/buckets/photos")
    assert answer.status == 503
    assert call(app, "HEAD", "/buckets/photos").status == 200


def test_replicas_cover_a_missing_node(nodes: list[Node]) -> None:
    app = app_on(nodes, 2)
    call(app, "POST", "/buckets/photos")
    for key in TREE:
        put(app, key)
    app = without(nodes, down_node("photos", TREE), 2)
    assert listed(app) == TREE
    assert call(app, "GET", "/buckets").json == ["photos"]


def test_a_missing_object_is_404_though_its_bucket_is_not_known_now(
    nodes: list[Node],
) -> None:
    app = app_on(nodes)
    call(app, "POST", "/buckets/photos")
    ranker = Ranker(dict.fromkeys(NODES, 1.0))
    marker = ranker.rank(marker_name("photos").hash_key)[0]
    key = next(
        f"{number}"
        for number in range(100)
        if ranker.rank(stored_name("photos", f"{number}")[0].hash_key)[0] != marker
    )
    app = without(nodes, marker, 1)
    answer = call(app, "GET", f"/objects/photos/{key}")
    assert (answer.status, answer.code) == (404, "NoSuchObject")
    answer = call(app, "PUT", f"/objects/photos/{key}", BODY)
    assert (answer.status, answer.code) == (503, "NodeUnreachable")
