"""What a listing of a node may be, whatever its kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from itertools import count

import pytest

from amazin.errors import ClientGoneError, LateError, NodeProtocolError
from amazin.nodes.order import KEYS_AT_ONCE, in_order
from amazin.request_limits import client_has_left, request_deadline, unlimited


def listed(keys: list[str], prefix: str = "", after: str = "") -> list[str]:
    return [key for key, _ in in_order([(key, 0) for key in keys], prefix, after)]


def test_what_is_in_order_stays_as_it_is() -> None:
    keys = ["a", "a!", "a/b", "z", "\u00e9", "\uffee", "\U0001f600"]
    assert listed(keys) == keys
    assert listed(["pb", "pc"], "p", "pa") == ["pb", "pc"]
    assert listed([]) == []


@pytest.mark.parametrize(
    ("keys", "prefix", "after"),
    [
        (["b", "a"], "", ""),
        (["a", "a"], "", ""),
        (["\U0001f600", "\uffee"], "", ""),
        (["a"], "", "a"),
        (["a"], "", "b"),
        (["a"], "b", ""),
        (["pb", "q"], "p", "pa"),
        ([""], "", ""),
    ],
)
def test_what_is_not_is_refused(keys: list[str], prefix: str, after: str) -> None:
    with pytest.raises(NodeProtocolError):
        listed(keys, prefix, after)


def endless() -> Iterator[tuple[str, int]]:
    return ((f"{number:09}", number) for number in count())


def taken(act: Callable[[], object]) -> int:
    """Return how many rows an endless listing gives after this was done; it ends."""

    def run() -> int:
        act()
        rows = 0
        with pytest.raises(LateError):
            for rows, _ in enumerate(in_order(endless(), "", ""), 1):  # noqa: B007
                pass
        return rows

    return copy_context().run(run)


def test_a_listing_ends_with_the_time_of_its_request() -> None:
    assert taken(lambda: request_deadline.set(time.monotonic() - 1)) < KEYS_AT_ONCE
    soon = time.monotonic() + 0.05
    assert taken(lambda: request_deadline.set(soon)) > 0


def test_a_listing_ends_when_its_client_has_gone() -> None:
    answers = iter([False, False, True])
    rows = taken(lambda: client_has_left.set(lambda: next(answers)))
    assert rows < 3 * KEYS_AT_ONCE


def test_what_others_need_too_has_no_limit() -> None:
    def run() -> None:
        request_deadline.set(time.monotonic() - 1)
        with unlimited():
            assert next(in_order(endless(), "", ""))
        with pytest.raises(LateError):
            list(in_order(endless(), "", ""))

    copy_context().run(run)
    assert issubclass(ClientGoneError, LateError)
