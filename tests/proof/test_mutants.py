"""The proof's own proof: each rule broken on purpose breaks the promise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.proof.machine import PromiseMachine
from tests.proof.mutants import MUTANTS

MOST_EXAMPLES = 10_000
pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


CLIENTS = ("put", "get", "delete", "operate_while_away")
LIKELY = {
    "delete_for_good": CLIENTS,
    "remove_by_a_quorum": (*CLIENTS, "fill", "make_room"),
    "clean_up": (*CLIENTS, "fail_in_the_middle"),
    "acknowledge_one_copy": (*CLIENTS, "fail_in_the_middle"),
    "repair_blindly": ("put", "write_while_it_moves"),
    "repair_at_once": ("put", "write_by_an_older_roster"),
    "believe_old_views": ("put", "get", "change_in_the_middle"),
    "acknowledge_by_old_views": ("put", "leave_something_behind"),
    "write_by_next_at_once": ("put", "read_by_an_older_roster"),
    "read_too_few": CLIENTS,
    "believe_lost_disks": (*CLIENTS, "lose_disk"),
    "read_one_home": ("put", "get", "join", "refresh", "pass_time", "calm"),
    "believe_leftovers": ("put", "leave_something_behind"),
    "list_too_few": ("put", "look_at_all"),
    "list_lost_disks": ("put", "lose_disk", "look_at_all"),
    "forget_lost_copies": (*CLIENTS, "rot"),
}
"""What has to happen for a mutant to show; all rules, where it isn't said."""


def focused(names: tuple[str, ...]) -> type[PromiseMachine]:
    """Return a machine with only some of the rules; the others are plain methods."""
    left = ("begin_world", *names)
    plain = {
        name: unruled(rule)
        for name, rule in vars(PromiseMachine).items()
        if hasattr(rule, "hypothesis_stateful_rule") and name not in left
    }
    return type("Focused", (PromiseMachine,), plain)


def unruled(rule: Callable[..., None]) -> Callable[..., None]:
    return lambda *arguments, **named: rule(*arguments, **named)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_noticed(
    mutant: Callable[[], AbstractContextManager[None]],
) -> None:
    names = LIKELY.get(mutant.__name__)
    machine = seed(1)(focused(names) if names else PromiseMachine)
    with mutant(), pytest.raises(AssertionError):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=MOST_EXAMPLES,
                stateful_step_count=15 if names else 80,
                deadline=None,
                phases=[Phase.generate],
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
