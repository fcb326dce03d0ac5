"""The application for tests: in memory, behind `wsgiref.validate`, on scripted nodes.

No sockets and no threads; what a server would do is done by `call`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from amazin.api.routes import all_routes
from amazin.api.services import Services
from amazin.cluster.cluster import Cluster
from amazin.membership.member import Member
from amazin.membership.membership import Membership
from amazin.membership.roster import NodeSet, Roster
from amazin.membership.snapshot import Snapshot
from amazin.membership.transitions import RosterView
from amazin.metrics.metrics import Metrics
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import DATA_BUCKETS, Label, ObjectInfo, ObjectName
from amazin.nodes.folder.node import FolderNode
from amazin.nodes.interface import Node, NodeObject
from amazin.settings.settings import Settings
from amazin.web.access import Access
from amazin.web.messages import Route
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.cleanup import closed_later
from tests.support.fakes import memory_nodes


class FixedMembership:
    """Stands for `Membership`: these nodes, settled for ever."""

    def __init__(
        self, nodes: Iterable[Node], replicas: int = 1, problem: str = ""
    ) -> None:
        # Without an endpoint a failure is not remembered: no probe, no thread.
        members = {node.name: Member(NodeSpec(node.name, None), node) for node in nodes}
        settled = NodeSet(replicas, dict.fromkeys(members, 1.0), epoch=1)
        roster = Roster("cluster", 1, settled)
        self._snapshot = Snapshot(
            members, RosterView(dict.fromkeys(members, roster)), problem
        )

    def snapshot(self, seconds: float = 0.0) -> Snapshot:
        return self._snapshot

    fresh_snapshot = bootstrap = snapshot

    def is_fresh(self, snapshot: Snapshot) -> bool:
        return True

    def refresh(self) -> None:
        """The list is what it was."""

    def close(self) -> None:
        """Close the nodes."""
        for member in self._snapshot.members.values():
            member.close()


class Site(NamedTuple):
    """Nodes, and how many copies of an object they are to keep."""

    nodes: list[Node]
    replicas: int


def make_app(
    nodes: Iterable[Node] | Path | None = None,
    settings: Settings | None = None,
    *,
    routes: Iterable[Route] | None = None,
    problem: str = "",
    spool: SpoolRoom | None = None,
    membership: Membership | None = None,
    metrics: Metrics | None = None,
) -> Gateway:
    """Return an application on these nodes, or else on three in memory.

    A path: on three folders made there. With a membership the nodes are those that it
    knows. With metrics it counts.
    """
    if isinstance(nodes, Path):
        nodes = folder_nodes(nodes)
    settings = settings or Settings()
    if membership is None:
        nodes = memory_nodes() if nodes is None else nodes
        fixed = FixedMembership(nodes, settings.replicas, problem)
        membership = cast(Membership, fixed)
    spool = spool or SpoolRoom(settings.spool_dir, settings.spool_bytes)
    routes = all_routes(settings) if routes is None else routes
    access = Access(settings)
    services = Services(Cluster(membership), settings, spool, access, metrics)
    meter = metrics.requests if metrics else None
    return Gateway(tuple(routes), services, access, meter)


def folder_nodes(path: Path, count: int = 3) -> list[FolderNode]:
    """Return nodes on new folders below a path, with their buckets."""
    names = [f"node-{number}" for number in range(1, count + 1)]
    nodes = []
    for name in names:
        (path / name).mkdir(exist_ok=True)
        nodes.append(closed_later(FolderNode(name, path / name)))
        for bucket in DATA_BUCKETS:
            nodes[-1].make_bucket(bucket)
    return nodes


@dataclass
class Answer:
    """A whole response."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code; the body has exactly what an error has."""
        error = self.json
        assert set(error) == {"error", "code", "requestId"}
        assert error["requestId"] == self.headers["X-Request-Id"]
        return str(error["code"])


class Input(io.BytesIO):
    """A request body that counts how much of it was read."""

    @property
    def was_read(self) -> int:
        return self.tell()


class BrokenInput(Input):
    """A request body that raises when its bytes are used up."""

    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise self.error
        return data


def make_environ(
    method: str,
    path: str,
    body: bytes | Input | None = None,
    headers: Mapping[str, str] | None = None,
) -> WSGIEnvironment:
    """Return the environ that gunicorn would make; `path` as on the request line.

    What is posted is said to be JSON, unless the headers say otherwise.
    """
    raw_path, _, query = path.partition("?")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(raw_path).decode("latin-1"),
        "SCRIPT_NAME": "",
        "QUERY_STRING": query,
        "REMOTE_ADDR": "192.0.2.7",
        "wsgi.input": body if isinstance(body, Input) else Input(body or b""),
    }
    if method == "POST":
        environ["CONTENT_TYPE"] = "application/json"
    if isinstance(body, bytes):
        environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in (headers or {}).items():
        variable = name.upper().replace("-", "_")
        is_own = variable in ("CONTENT_TYPE", "CONTENT_LENGTH")
        environ[variable if is_own else "HTTP_" + variable] = value
    setup_testing_defaults(environ)
    return environ


def call(
    app: WSGIApplication,
    method: str,
    path: str,
    body: bytes | Input | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    environ: Mapping[str, Any] | None = None,
) -> Answer:
    """Ask the application; `environ` overrides what the validator would refuse."""

    def inner(checked: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        checked.update(environ or {})
        return app(checked, start_response)

    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, given: Any, exc_info: Any = None) -> Any:
        started.append((status, given))
        return lambda data: None

    is_usual = method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
    if not is_usual:  # the validator warns
        environ = {"REQUEST_METHOD": method, **(environ or {})}
        method = "GET"
    request = make_environ(method, path, body, headers)
    iterable = validator(inner)(request, start_response)
    try:
        data = b"".join(iterable)
    finally:
        iterable.close()  # type: ignore[attr-defined]
    ((status, response_headers),) = started
    return Answer(int(status[:3]), as_message(response_headers), data)


def as_message(headers: Iterable[tuple[str, str]]) -> Message:
    """Return headers to be looked up in any case."""
    message = Message()
    for name, value in headers:
        message.add_header(name, value)
    return message


def call_chunked(
    app: WSGIApplication,
    path: str,
    body: bytes | Input,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Upload without a length, as a server hands a chunked body on."""
    stream = body if isinstance(body, Input) else Input(body)
    headers = {"Transfer-Encoding": "chunked", **(headers or {})}
    return call(
        app, "PUT", path, stream, headers, environ={"wsgi.input_terminated": True}
    )


@dataclass
class Content:
    """A `NodeObject` that yields these pieces; an exception among them is raised."""

    info: ObjectInfo
    pieces: list[bytes | Exception]
    closed: int = 0

    def read(self) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1


@dataclass
class Said:
    """A `Pending` with its answer; an exception is raised."""

    answer: Any
    is_cancelled: bool = False

    def is_ready(self, timeout: float) -> bool:
        return True

    def wait(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Received:
    """An `Upload` into memory; `answer` is what its commit says."""

    answer: Any
    data: bytes = b""
    is_committed: bool = False
    is_aborted: bool = False

    def write(self, chunk: bytes) -> None:
        self.data += chunk

    def start_commit(self) -> Said:
        self.is_committed = True
        return Said(self.answer)

    def abort(self) -> None:
        self.is_aborted = True


@dataclass
class ScriptedNode:
    """A node that gives these answers, in this order, and notes what it was asked.

    An answer is (question, value or exception), with the question as in `start_...`.
    """

    answers: list[tuple[str, Any]]
    name: str = "node-1"
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    uploads: list[Received] = field(default_factory=list)

    def _next(self, question: str, *details: Any) -> Any:
        assert self.answers, f"{self.name} was asked {question} {details} unexpectedly"
        expected, answer = self.answers.pop(0)
        assert question == expected
        self.asked.append((question, *details))
        return answer

    def start_get(
        self,
        name: ObjectName,
        *,
        byte_range: tuple[int, int] | None = None,
        if_match: str | None = None,
    ) -> Said:
        return Said(self._next("get", name, byte_range, if_match))

    def start_head(self, name: ObjectName) -> Said:
        return Said(self._next("head", name))

    def start_put(
        self,
        name: ObjectName,
        data: bytes,
        label: Label,
        headers: Mapping[str, str],
        **conditions: Any,
    ) -> Said:
        upload = self.start_upload(name, len(data), label, headers, **conditions)
        upload.write(data)
        return upload.start_commit()

    def start_upload(
        self,
        name: ObjectName,
        length: int,
        label: Label,
        headers: Mapping[str, str],
        **conditions: Any,
    ) -> Received:
        answer = self._next("put", name, length, dict(headers), conditions)
        self.uploads.append(Received(answer))
        return self.uploads[-1]

    def start_delete(self, name: ObjectName, *, if_match: str | None = None) -> Said:
        return Said(self._next("delete", name))

    def make_bucket(self, bucket: str) -> None:
        raise AssertionError("nobody makes buckets here")

    def start_check(self) -> Said:
        return Said(self._next("check"))

    def list_objects(self, bucket: str, prefix: str = "", after: str = "") -> Any:
        raise AssertionError("nobody lists here")

    def close(self) -> None:
        assert not self.answers, f"{self.name} was not asked {self.answers}"


def scripted(*answers: tuple[str, Any]) -> tuple[Gateway, ScriptedNode]:
    """Return an application on one node with these answers."""
    node = ScriptedNode(list(answers))
    return make_app([cast(Node, node)]), node


def content(
    pieces: Iterable[bytes | Exception], size: int, **info: Any
) -> NodeObject | Content:
    """Return an object of `size` bytes that arrives in these pieces."""
    return Content(an_object(size, **info), list(pieces))


def an_object(size: int = 5, **info: Any) -> ObjectInfo:
    """Return the info of some stored object, modified Sun, 06 Nov 1994 08:49:37 GMT."""
    given = {"etag": "abc", "modified_ns": 784_111_777 * 10**9 + 999, **info}
    return ObjectInfo(size=size, **given)
