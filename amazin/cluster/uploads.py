"""Sends one body to several nodes at once, and copies it to further nodes.

The client's bytes are read once, without threads or temporary files. A failed attempt
is never cleaned up, because its copy may have replaced an older one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from amazin.cluster.downloads import open_copy
from amazin.errors import NodeError, NodeProtocolError, NoNodesError, PreconditionError
from amazin.membership.member import Member
from amazin.model.bodies import Body, HeldBody
from amazin.model.objects import CHUNK_BYTES, Label, ObjectInfo, ObjectName
from amazin.nodes.interface import Node, NodeObject, Pending, Upload

MAX_TRIES = 10
"""How often a small upload is sent to a node while other uploads keep replacing it."""

Put = Callable[[bytes, Node], Pending[ObjectInfo]]
"""Asks a node to store a small body."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything about an upload except its bytes."""

    name: ObjectName
    length: int
    label: Label
    headers: Mapping[str, str]
    if_match: str | None = None
    if_absent: bool = False
    keeps_newer: bool = True
    """Whether the label's stamp is known to be greater than those of older versions."""
    seen: Mapping[str, ObjectInfo | None] = field(default_factory=dict)
    """By node name: what the node held when the stamp was chosen."""

    @property
    def is_conditional(self) -> bool:
        """Whether the client set a condition."""
        return self.if_match is not None or self.if_absent

    @property
    def is_guarded(self) -> bool:
        """Whether each node stores the upload only if it still holds what was seen.

        A node keeps what arrives last, so a late upload with an older stamp would
        replace a newer version. Only small uploads are guarded, because MinIO locks the
        key while a conditional upload arrives.
        """
        small = self.length <= CHUNK_BYTES
        return self.keeps_newer and small and not self.is_conditional

    def put(self, member: Member) -> Put:
        """Return the function that sends a small body to a node. Raises: NodeError."""
        if_match, if_absent = self._conditions(member)

        def start(data: bytes, node: Node) -> Pending[ObjectInfo]:
            return node.start_put(
                self.name,
                data,
                self.label,
                self.headers,
                if_match=if_match,
                if_absent=if_absent,
                keeps_newer=self.keeps_newer,
            )

        return start

    def upload(self, member: Member) -> Callable[[Node], Upload]:
        """Return the function that begins an upload to a node. Raises: NodeError."""
        if_match, if_absent = self._conditions(member)

        def start(node: Node) -> Upload:
            return node.start_upload(
                self.name,
                self.length,
                self.label,
                self.headers,
                if_match=if_match,
                if_absent=if_absent,
                keeps_newer=self.keeps_newer,
            )

        return start

    def _conditions(self, member: Member) -> tuple[str | None, bool]:
        """Return `if_match` and `if_absent` for one node. Raises: NodeError."""
        if not self.is_guarded:
            return self.if_match, self.if_absent
        seen = self.seen
        held = seen[member.name] if member.name in seen else member.head(self.name)
        return (held.etag, False) if held else (None, True)

    def is_superseded(self, held: ObjectInfo | None) -> bool:
        """Whether a node holds this version, its bytes included, or a newer one."""
        return (
            held is not None
            and (held.version[0], not held.is_damaged) >= (self.label.stamp, True)
            and held.epoch >= self.label.epoch
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A copy that a node confirmed."""

    member: Member
    info: ObjectInfo


@dataclass(slots=True)
class _Lane:
    member: Member
    upload: Upload
    pending: Pending[ObjectInfo] | None = None


class Fanout:
    """Sends one body to the first nodes that accept it."""

    def __init__(
        self,
        draft: Draft,
        candidates: Iterator[Member],
        *,
        tolerates_conflicts: bool = False,
    ) -> None:
        """With `tolerates_conflicts`, a failed condition is a failure of the node."""
        self._draft = draft
        self._candidates = candidates
        self._tolerates_conflicts = tolerates_conflicts
        self._lanes: list[_Lane] = []
        self.failure: NodeError | None = None
        self.has_conflict = False
        """Whether a condition failed on a node."""

    def send(
        self, body: Body, count: int, before_end: Callable[[], None] | None = None
    ) -> list[Stored]:
        """Store the body on `count` nodes; return the stored copies, at least one.

        Nodes that fail meanwhile are dropped. Other candidates replace them as long as
        nothing of the body was read, or it can restart. `before_end` is called before
        the last piece is sent; if it raises, nothing is stored.

        Raises:
            NodeError: no copy was confirmed, or too few nodes accepted the upload.
            BodyError: the client sent less than it announced; nothing is stored.
            PreconditionError: the draft's condition does not hold.
        """
        if isinstance(body, HeldBody):
            stored = self._put(body, count)
        else:
            stored = self._stream(body, count, before_end)
        if not stored:
            raise self.failure or NoNodesError("Too few nodes can store the object")
        return stored

    def _put(self, body: HeldBody, count: int) -> list[Stored]:
        stored: list[Stored] = []
        while (missing := count - len(stored)) > 0:
            puts = self._prepared(missing)
            if not puts or not (stored or len(puts) == missing):
                break
            stored += self._send_to(puts, body)
        return stored

    def _prepared(self, count: int) -> list[tuple[Member, Put]]:
        """Return the requests for the next `count` usable nodes, or for all left."""
        puts: list[tuple[Member, Put]] = []
        for member in self._candidates:
            try:
                member.require_usable()
                puts.append((member, self._draft.put(member)))
            except NodeError as exc:
                self.failure = exc
            if len(puts) == count:
                break
        return puts

    def _send_to(
        self, puts: Sequence[tuple[Member, Put]], body: HeldBody
    ) -> list[Stored]:
        data = body.read()
        stored: list[Stored] = []
        asked: list[tuple[Member, Pending[ObjectInfo]]] = []
        try:
            for member, put in puts:
                try:
                    asked.append((member, member.ask(partial(put, data))))
                except NodeError as exc:
                    self.failure = exc
            for member, pending in asked:
                if info := self._confirmed(member, pending, body):
                    stored.append(Stored(member, info))
        except BaseException:
            for _, pending in asked:
                pending.cancel()
            raise
        return stored

    def _confirmed(
        self, member: Member, pending: Pending[ObjectInfo], body: HeldBody
    ) -> ObjectInfo | None:
        """Wait until the node has stored it; None: it failed. Raises: as `send`."""
        try:
            return member.wait(pending)
        except PreconditionError as exc:
            if self._draft.is_guarded:
                return self._store(member, body)
            self._note_conflict(exc)
        except NodeError as exc:
            self.failure = exc
        return None

    def _store(self, member: Member, body: HeldBody) -> ObjectInfo | None:
        try:
            return store(self._draft, member, body)
        except NodeError as exc:
            self.failure = exc
            return None

    def _note_conflict(self, error: PreconditionError) -> None:
        if not self._tolerates_conflicts:
            raise error
        self.has_conflict = True
        self.failure = NodeError(str(error))

    def _stream(
        self, body: Body, count: int, before_end: Callable[[], None] | None
    ) -> list[Stored]:
        stored: list[Stored] = []
        try:
            while len(stored) < count:
                is_enough = self._open(count - len(stored))
                if not self._lanes or not (is_enough or stored):
                    break
                self._write(body, before_end)
                stored += self._commit()
                if not body.can_restart():
                    break
        finally:
            for lane in self._lanes:
                lane.upload.abort()
        return stored

    def _open(self, count: int) -> bool:
        """Begin uploads; return whether there are `count` of them."""
        for member in self._candidates:
            try:
                upload = member.upload(self._draft.upload(member))
                self._lanes.append(_Lane(member, upload))
            except PreconditionError as exc:
                self._note_conflict(exc)
            except NodeError as exc:
                self.failure = exc
            if len(self._lanes) == count:
                return True
        return False

    def _write(self, body: Body, before_end: Callable[[], None] | None) -> None:
        missing = body.length
        for chunk in body.chunks():
            missing -= len(chunk)
            if before_end and not missing:
                before_end()
            self._each(partial(_write, chunk))
            if not self._lanes:
                break

    def _commit(self) -> list[Stored]:
        stored: list[Stored] = []

        def start(lane: _Lane) -> None:
            lane.pending = lane.upload.start_commit()

        def wait(lane: _Lane) -> None:
            if lane.pending:
                stored.append(Stored(lane.member, lane.pending.wait()))

        self._each(start)
        self._each(wait)
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            lane.upload.abort()
        return stored

    def _each(self, act: Callable[[_Lane], object]) -> None:
        """Call `act` for every lane; drop those on which it fails."""
        for lane in list(self._lanes):
            try:
                act(lane)
                continue
            except PreconditionError as exc:
                self._note_conflict(exc)
            except NodeError as exc:
                lane.member.note_failure(exc)
                self.failure = exc
            self._lanes.remove(lane)
            lane.upload.abort()


def _write(chunk: bytes, lane: _Lane) -> None:
    lane.upload.write(chunk)


def store(draft: Draft, member: Member, body: HeldBody) -> ObjectInfo:
    """Store a small body on one node, unless it holds this or a newer version.

    Raises: NodeError.
    """
    for _ in range(MAX_TRIES):
        held = member.head(draft.name)
        if draft.is_superseded(held):
            stamp = draft.label.stamp
            return ObjectInfo(body.length, body.etag, stamp.nanoseconds, draft.label)
        put = replace(draft, seen={member.name: held}).put(member)
        data = body.read()
        try:
            return member.call(partial(put, data))
        except PreconditionError:  # another upload was faster: check again
            continue
    raise NodeError("the object keeps changing")


def copy(source: Stored, target: Member, draft: Draft) -> Stored:
    """Copy a stored object to another node.

    Raises:
        PreconditionError: the source was overwritten.
        NodeError: the source or the target failed (see `node`).
    """
    content = open_copy(source.member, draft.name, source.info, None)
    try:
        if draft.is_guarded:
            body = HeldBody(b"".join(iter(content.read, b"")))
            info = store(draft, target, body)
        else:
            info = send_stream(draft, target, content)
    finally:
        content.close()
    if info.etag != source.info.etag:
        raise NodeProtocolError("the copy has another ETag than its source")
    return Stored(target, info)


def send_stream(draft: Draft, target: Member, content: NodeObject) -> ObjectInfo:
    """Copy an object from an open download to a node, unless it has a newer version.

    Raises: NodeError.
    """
    upload = target.upload(draft.upload(target))
    missing = draft.length
    try:
        for chunk in iter(content.read, b""):
            missing -= len(chunk)
            if not missing and draft.is_superseded(target.head(draft.name)):
                return content.info
            with target.noting():
                upload.write(chunk)
        with target.noting():
            return upload.start_commit().wait()
    finally:
        upload.abort()


def complete(
    sources: Sequence[Stored], targets: Iterable[Member], draft: Draft, count: int
) -> list[Stored]:
    """Copy a stored object to `count` of the targets, in order; fewer if they fail.

    Return the new copies.
    """
    made: list[Stored] = []
    for target in targets:
        if len(made) == count:
            break
        for source in (*made, *sources):
            try:
                made.append(copy(source, target, draft))
                break
            except (NodeError, PreconditionError):
                continue
    return made
