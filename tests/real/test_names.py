"""Keys of any kind on real nodes: ten thousand go in, are found, and are listed."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import pytest

from amazin.cluster.bucket_listing import list_keys
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import Label, ObjectInfo, ObjectName, Stamp
from amazin.model.stored_names import stored_name
from amazin.nodes.folder.node import FolderNode
from amazin.nodes.interface import Node, Pending
from amazin.nodes.s3.node import S3Node
from tests.support.hostile_keys import PIECES, cut, expected
from tests.support.servers import Server

pytestmark = pytest.mark.integration
COUNT = 10_000
BUCKET = "photos"
AT_ONCE = 8
THREADS = 4
LIMITS = TimeLimits(connect=5.0, answer=30.0, transfer=60.0)
SIBLINGS = ["", " ", "!", "-", ".", "/", "0", "é", "\U0010ffff", "\\"]
LABEL = Label(Stamp(1_700_000_000_123_456_789, 7), 3)


class Found(NamedTuple):
    info: ObjectInfo


class NodeSource:
    """One node as a source of listings."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def list(self, prefix: str, after: str) -> Iterator[tuple[str, ObjectInfo]]:
        return self._node.list_objects("store", prefix, after)

    def head(self, name: ObjectName) -> Found:
        return Found(self._node.start_head(name).wait())


@pytest.fixture(scope="module", params=["minio_server", "versity_server", "folder"])
def new_node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Node]:
    """A function that returns the node of this kind; its end is the caller's."""
    if request.param == "folder":
        folder = tmp_path_factory.mktemp("node")
        return lambda: FolderNode("node", folder)
    server: Server = request.getfixturevalue(request.param)
    return lambda: S3Node(server.spec("node"), LIMITS)


def hostile_keys() -> list[str]:
    """Return keys of all forms, many of them one another's neighbours."""
    chosen = random.Random(6)
    keys: set[str] = set()
    while len(keys) < COUNT // 2:
        key = cut("".join(chosen.choices(PIECES, k=chosen.randint(1, 6))))
        keys.add(key)
        if len(key) < 20:
            keys.update(key + end for end in SIBLINGS)
    while len(keys) < COUNT:  # many in few directories: over several pages
        number = chosen.randrange(5000)
        start = f"{number % 3}{chosen.choice(SIBLINGS)}{number:04}"
        keys.add(start + chosen.choice(SIBLINGS) + chosen.choice(["", "x"]))
    return sorted(keys, key=str.encode)[:COUNT]


KEYS = hostile_keys()


def test_many_long_names_with_much_metadata_are_listed(
    new_node: Callable[[], Node],
) -> None:
    """A page of a thousand of them would be longer than pages may be."""
    long = "/".join(["語" * 80] * 3)
    names = [ObjectName("store", f"many/{n:04} {long}") for n in range(1100)]
    headers = {"X-Meta-Much": "&" * 200}
    with closing(new_node()) as node:
        node.make_bucket("store")
        for start in range(0, len(names), AT_ONCE):
            few = names[start : start + AT_ONCE]
            for pending in [node.start_put(x, b"x", LABEL, headers) for x in few]:
                pending.wait()
        found = [key for key, _ in node.list_objects("store", "many/")]
        assert found == [name.key for name in names]
        for name in names:
            node.start_delete(name).wait()


def body_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def several_at_once(
    questions: Iterable[Callable[[], Pending[ObjectInfo]]],
) -> Iterator[ObjectInfo]:
    """Yield the answers in order; `AT_ONCE` questions are under way."""
    waiting: deque[Pending[ObjectInfo]] = deque()
    for question in questions:
        waiting.append(question())
        if len(waiting) >= AT_ONCE:
            yield waiting.popleft().wait()
    for pending in waiting:
        yield pending.wait()


def start_put(node: Node, key: str) -> Pending[ObjectInfo]:
    name, headers = stored_name(BUCKET, key)
    kept = {"Content-Type": "text/x-test", **headers}
    return node.start_put(name, body_of(key), LABEL, kept)


@pytest.fixture(scope="module")
def new_full_node(new_node: Callable[[], Node]) -> Callable[[], Node]:
    """The same, with one object for each key; folders write in `wait`: in threads."""

    def put(keys: list[str]) -> int:
        questions = (lambda key=key: start_put(node, key) for key in keys)
        return sum(1 for _ in several_at_once(questions))

    with closing(new_node()) as node, ThreadPoolExecutor(THREADS) as pool:
        node.make_bucket("store")
        shares = [KEYS[start::THREADS] for start in range(THREADS)]
        assert sum(pool.map(put, shares)) == COUNT
    return new_node


@pytest.fixture
def full_node(new_full_node: Callable[[], Node]) -> Iterator[Node]:
    """The node with all keys."""
    with closing(new_full_node()) as node:
        yield node


def test_every_key_is_found_under_its_name(full_node: Node) -> None:
    names = [stored_name(BUCKET, key) for key in KEYS]
    found = several_at_once(
        lambda name=name: full_node.start_head(name) for name, _ in names
    )
    for key, (_, headers), info in zip(KEYS, names, found, strict=True):
        assert info.etag == hashlib.md5(body_of(key)).hexdigest()
        assert info.headers == {"Content-Type": "text/x-test", **headers}


def test_what_was_put_is_got(full_node: Node) -> None:
    for key in KEYS[::20]:
        content = full_node.start_get(stored_name(BUCKET, key)[0]).wait()
        with closing(content):
            assert b"".join(iter(content.read, b"")) == body_of(key)


def test_stored_names_are_listed_in_the_order_of_their_bytes(full_node: Node) -> None:
    names = sorted((stored_name(BUCKET, key)[0].key for key in KEYS), key=str.encode)
    assert [name for name, _ in full_node.list_objects("store", "-o/")] == names


def test_the_keys_are_listed_in_their_order(full_node: Node) -> None:
    entries = list(list_keys(NodeSource(full_node), BUCKET))
    assert [entry.key for entry in entries] == KEYS
    for entry in entries:
        assert entry.info
        assert entry.info.etag == hashlib.md5(body_of(entry.key)).hexdigest()
        is_known = entry.info.label or entry.info.headers
        assert not is_known or entry.info.headers["Content-Type"] == "text/x-test"


@pytest.mark.parametrize("recursive", [True, False])
def test_any_prefix_and_place_can_be_asked_for(
    full_node: Node, recursive: bool
) -> None:
    chosen = random.Random(7)
    source = NodeSource(full_node)
    for _ in range(60):
        key = chosen.choice(KEYS)
        prefix = key[: chosen.randint(0, min(len(key), 8))]
        prefix += chosen.choice(["", "", "/", "/.", "..", " ", "\0", "//", "\\.", "zz"])
        after = chosen.choice(["", prefix, key, chosen.choice(KEYS), prefix + "/./x"])
        wanted = expected(KEYS, prefix, after, recursive)
        found = [e.key for e in list_keys(source, BUCKET, prefix, after, recursive)]
        assert found == wanted, (prefix, after)


def test_behind_a_place_nothing_is_left_out(full_node: Node) -> None:
    """MinIO alone would end here: too much of what it reads is before the place."""
    names = sorted((stored_name(BUCKET, key)[0].key for key in KEYS), key=str.encode)
    prefix = f"-o/{BUCKET}/k/"
    places = [name for name in names if name.startswith(f"{prefix}1/")]
    for place in (places[0], places[-1], f"{prefix}1/"):
        wanted = [n for n in names if n.startswith(prefix) and n > place]
        found = [name for name, _ in full_node.list_objects("store", prefix, place)]
        assert found == sorted(wanted, key=str.encode)
