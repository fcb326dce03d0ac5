"""Sends one request to several nodes at once. Decides nothing about the responses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from amazin.errors import GatewayError, NodeError, NodeTimeoutError
from amazin.membership.member import Member
from amazin.nodes.interface import Node, Pending

T = TypeVar("T")


def ask_all(
    members: Iterable[Member],
    start: Callable[[Node], Pending[T]],
    *,
    even_lost: bool = False,
    even_skipped: bool = False,
    deadline: float = math.inf,
) -> dict[str, T | GatewayError]:
    """Send a request to several nodes at once; return responses or errors by node name.

    A missing object is an error, too: NoSuchKeyError. `even_lost` also asks nodes that
    lost their disks. `even_skipped` asks all nodes, and skips none for its response.
    `deadline` is on the monotonic clock; a node that has not answered by then gets
    NodeTimeoutError.
    """
    answers: dict[str, T | GatewayError] = {}
    asked: list[tuple[Member, Pending[T]]] = []
    for member in members:
        try:
            if even_skipped:
                asked.append((member, start(member.node)))
            else:
                asked.append((member, member.ask(start, even_lost=even_lost)))
        except NodeError as exc:
            answers[member.name] = exc
    for member, pending in asked:
        wait = pending.wait if even_skipped else partial(member.wait, pending)
        answers[member.name] = _answer(wait, pending, deadline)
    return answers


def _answer(
    wait: Callable[[], T], pending: Pending[T], deadline: float
) -> T | GatewayError:
    seconds = max(0.0, deadline - time.monotonic())
    if seconds < math.inf and not pending.is_ready(seconds):
        pending.cancel()
        return NodeTimeoutError("the node is silent")
    try:
        return wait()
    except GatewayError as exc:
        return exc
