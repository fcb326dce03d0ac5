"""The read and write rules, over a ranking of nodes.

One copy of each object, on the best-ranked node, its *home*. Objects written before a
node joined lie elsewhere; so a read asks the home first, then all other known nodes,
and only when every one of them said no is the answer "no such object". One node that
does not answer makes it "can't tell" (503): never a wrong answer.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from errors import (
    ConflictError,
    NodeAccessError,
    NodeError,
    NoNodesError,
    NoSuchKeyError,
    NotSupportedError,
    PreconditionError,
)
from membership import Member, Membership
from nodes import Node, NodeObject, ObjectInfo, ObjectName, Pending, Stamp, Upload

MAX_ATTEMPTS = 3
"""How often a read starts anew because the object changed meanwhile."""

T = TypeVar("T")
ByteRange = tuple[int, int]
Chooser = Callable[[ObjectInfo], ByteRange | None]
"""Given what an object is, returns which bytes to read (None: all), or raises."""


class Body(Protocol):
    """What a client uploads."""

    length: int

    def chunks(self) -> Iterable[bytes]:
        """Yield the bytes, `length` in all. Raises: BodyError, if there are fewer."""

    def can_restart(self) -> bool:
        """Whether `chunks`, called now, yields the body from its beginning."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One stored copy: what it is and where."""

    member: Member
    info: ObjectInfo


@dataclass(frozen=True, slots=True)
class Download:
    """An open object; `byte_range` is what the chooser chose."""

    member: Member
    content: NodeObject
    byte_range: ByteRange | None = None


class Cluster:
    """All nodes as one store. Stateless, but for the last stamp it gave out."""

    def __init__(
        self, membership: Membership, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._membership = membership
        self._clock_ns = clock_ns
        self._last_ns = 0
        self._stamp_lock = threading.Lock()

    def get(self, name: ObjectName, choose: Chooser | None = None) -> Download:
        """Open an object; the caller closes its content.

        With a chooser the object is looked at first, and what is opened is that
        version.

        Raises:
            NoSuchKeyError: every node said so.
            NodeError, NoNodesError, ConflictError: it can't be told, or read, now.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                if choose is None:
                    return self._with_fresh_keys(lambda: self._open(name))
                copy = self.head(name)
                return self._open_copy(name, copy, choose(copy.info))
            except PreconditionError:  # overwritten between the two questions
                continue
        raise ConflictError("the object keeps changing")

    def head(self, name: ObjectName) -> Copy:
        """Find the newest copy of an object. Raises: as `get`."""
        return self._with_fresh_keys(lambda: self._locate(name))

    def put(
        self,
        name: ObjectName,
        body: Body,
        headers: Mapping[str, str],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> Copy:
        """Store an object on its home, over what may be there.

        With `if_match` or `if_absent` the body must be here already (it can restart):
        some nodes lock the key while a conditional upload arrives.

        Raises:
            PreconditionError: `if_match` or `if_absent` does not hold.
            BodyError: the client sent less than it announced; nothing is stored.
            NodeError, NoNodesError: it may or may not be stored.
            NotSupportedError: the condition can't be judged atomically now.
        """
        if if_match or if_absent:
            self._judge_elsewhere(name, if_match)

        def attempt() -> Copy:
            home = self._ranked(name)[0]
            stamp = self._next_stamp()
            options = (name, body.length, stamp, headers)
            upload = home.upload(
                lambda node: node.start_put(
                    *options, if_match=if_match, if_absent=if_absent
                )
            )
            return Copy(home, send_body(home, upload, body))

        return self._with_fresh_keys(attempt, body.can_restart)

    def delete(self, name: ObjectName) -> Member:
        """Remove an object everywhere, its newest copy last; returns the home.

        Whatever fails in between, what is left is not older than what was there.

        Raises:
            NodeError, NoNodesError: a node did not confirm; the home's copy is still
                there if another node's may be.
        """

        def attempt() -> Member:
            home, *others = self._ranked(name)
            holders = [copy.member for copy in find_copies(others, name)]
            for members in (holders[:-1], holders[-1:]):
                ask_all(members, lambda node: node.start_delete(name))
            home.ask(lambda node: node.start_delete(name)).wait()
            return home

        return self._with_fresh_keys(attempt)

    def states(self) -> dict[str, str]:
        """Ask every node whether it can serve; `up`, or what is wrong, by name."""
        members = list(self._membership.snapshot().members.values())
        started: list[Pending[object] | NodeError] = []
        for member in members:
            try:
                started.append(member.ask(lambda node: node.start_check()))
            except NodeError as exc:
                started.append(exc)
        return {
            member.name: describe(pending)
            for member, pending in zip(members, started, strict=True)
        }

    def problem(self) -> str:
        """Return why nodes may be missing; empty if discovery is well."""
        return self._membership.snapshot().problem

    def _ranked(self, name: ObjectName) -> list[Member]:
        snapshot = self._membership.snapshot()
        if not snapshot.members:
            raise NoNodesError(snapshot.problem or "No storage node was found")
        return snapshot.ranked(name.hash_key)

    def _locate(self, name: ObjectName) -> Copy:
        home, *others = self._ranked(name)
        try:
            return Copy(home, home.ask(lambda node: node.start_head(name)).wait())
        except NoSuchKeyError:
            return newest(others, name)

    def _open(self, name: ObjectName) -> Download:
        home, *others = self._ranked(name)
        try:
            return Download(home, home.ask(lambda node: node.start_get(name)).wait())
        except NoSuchKeyError:
            return self._open_copy(name, newest(others, name), None)

    def _open_copy(
        self, name: ObjectName, copy: Copy, byte_range: ByteRange | None
    ) -> Download:
        question = copy.member.ask(
            lambda node: node.start_get(
                name, byte_range=byte_range, if_match=copy.info.etag
            )
        )
        try:
            return Download(copy.member, question.wait(), byte_range)
        except NoSuchKeyError as exc:
            raise PreconditionError("deleted between the two questions") from exc

    def _judge_elsewhere(self, name: ObjectName, if_match: str | None) -> None:
        """Judge a precondition that the home can't: the object lies on another node."""
        try:
            copy = self.head(name)
        except NoSuchKeyError:
            return
        if copy.member.name == self._ranked(name)[0].name:
            return
        if if_match == copy.info.etag:
            raise NotSupportedError(
                "The object lies on another node since the set of nodes changed; "
                "upload it once without a condition"
            )
        raise PreconditionError("judged on another node")

    def _with_fresh_keys(
        self, attempt: Callable[[], T], can_restart: Callable[[], bool] = lambda: True
    ) -> T:
        """Run `attempt`, once more if a node refused keys that have changed since."""
        before = self._membership.snapshot().members
        try:
            return attempt()
        except NodeAccessError as exc:
            self._membership.refresh()
            now = self._membership.snapshot().members
            if now.get(exc.node) is before.get(exc.node) or not can_restart():
                raise
        return attempt()

    def _next_stamp(self) -> Stamp:
        with self._stamp_lock:
            self._last_ns = max(self._clock_ns(), self._last_ns + 1)
            return Stamp(self._last_ns, secrets.randbits(32))


def send_body(home: Member, upload: Upload, body: Body) -> ObjectInfo:
    """Send a body and commit it. Raises: as `Cluster.put`."""
    try:
        for chunk in body.chunks():
            upload.write(chunk)
        return upload.commit()
    except NodeError as exc:
        home.note_failure(exc)
        raise
    finally:
        upload.abort()


def newest(members: Sequence[Member], name: ObjectName) -> Copy:
    """Return the newest copy on these nodes; every one of them has to answer.

    Raises:
        NoSuchKeyError: all of them said so.
        NodeError: one did not answer, so it can't be told.
    """
    copies = find_copies(members, name)
    if not copies:
        raise NoSuchKeyError("no node has it")
    return copies[-1]


def find_copies(members: Sequence[Member], name: ObjectName) -> list[Copy]:
    """Return the copies on these nodes, oldest first; every node has to answer.

    Raises:
        NodeError: one did not answer, so it can't be told.
    """
    answers = ask_all(members, lambda node: node.start_head(name))
    copies = [
        Copy(member, info)
        for member, info in zip(members, answers, strict=True)
        if info is not None
    ]
    return sorted(copies, key=lambda copy: copy.info.version)


def ask_all(
    members: Sequence[Member], start: Callable[[Node], Pending[T]]
) -> list[T | None]:
    """Ask several nodes at once; None stands for "no such key".

    Raises:
        NodeError: the first that gave no usable answer; the others are cancelled.
    """
    pending: list[Pending[T]] = []
    answers: list[T | None] = []
    try:
        for member in members:
            pending.append(member.ask(start))
        for question in pending:
            try:
                answers.append(question.wait())
            except NoSuchKeyError:
                answers.append(None)
    finally:
        for question in pending[len(answers) :]:
            question.cancel()
    return answers


def describe(pending: Pending[object] | NodeError) -> str:
    """Wait for a check; returns `up`, or why the node can't serve."""
    try:
        if isinstance(pending, NodeError):
            return str(pending)
        pending.wait()
    except NodeError as exc:
        return str(exc)
    return "up"
