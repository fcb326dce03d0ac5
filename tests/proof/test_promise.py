"""The promise of the design, held against anything in any order."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.proof.machine import PromiseMachine
from tests.proof.parts_machine import PartsMachine
from tests.support.examples import examples

pytestmark = pytest.mark.timeout(300)  # in thorough runs

STEPS = 80

TestPromise = PromiseMachine.TestCase
TestPromise.settings = settings(max_examples=examples(0.6), stateful_step_count=STEPS)

TestPartsPromise = PartsMachine.TestCase
TestPartsPromise.settings = settings(
    max_examples=examples(0.3), stateful_step_count=STEPS
)
