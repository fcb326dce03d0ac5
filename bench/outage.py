"""What a node that is gone costs: the first answer after it, and work meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.load import BODY, Client, Sample, run_load
from bench.nodes import System, Void
from bench.stats import over_rounds, percentile

CONNECTIONS = 16
FALL_SECONDS = 4.0
GIVE_UP_SECONDS = 45.0
NOTICED_SECONDS = 3.0
"""By then every worker that is asked has noticed, and clients don't wait any more."""
GOOD = {"GET": 200, "PUT": 201}

Found = Mapping[str, float | None]
"""What one round found, by name; None: it did not come."""


class Outage:
    """Takes one node down, in some way, and brings it back."""

    def __init__(self, system: System, kind: str) -> None:
        """`kind`: killed (its machine refuses connections), frozen (it accepts them,
        and is silent) or gone (its machine doesn't answer)."""
        self._system = system
        self._kind = kind
        self._node = system.nodes[0]
        self._void: Void | None = None

    @property
    def name(self) -> str:
        """The node's stable name."""
        return self._system.names[0]

    def begin(self) -> None:
        """Take the node down."""
        if self._kind == "frozen":
            self._node.freeze()
            return
        self._node.kill()
        if self._kind == "gone":
            self._void = Void(self._node.port)

    def end(self) -> None:
        """Bring it back, and wait until every worker knows."""
        if self._void:
            self._void.close()
            self._void = None
        self._node.thaw()
        self._node.start()
        self._system.wait_until_ready()


def measure_first_answers(
    system: System, keys: Sequence[str], rounds: int, kinds: Sequence[str]
) -> dict[str, Any]:
    """Return seconds from a node's end to the first good answer for its keys, if any.

    One client asks, on a connection that it had before, one question after the other.
    Its worker learns of it the hard way; each worker does so for itself.
    """
    raw: dict[str, list[Found]] = {}
    for _ in range(rounds):
        for kind in kinds:
            for method in GOOD:
                outage = Outage(system, kind)
                own = [key for key in keys if outage.name in system.needed(key)]
                found = first_answer(system.port, method, own, outage)
                raw.setdefault(f"{kind} {method}", []).append(found)
    return summarise_first_answers(raw)


def first_answer(
    port: int,
    method: str,
    keys: Sequence[str],
    outage: Outage,
    patience_seconds: float = GIVE_UP_SECONDS,
) -> Found:
    """Return how long the first good answer took, what those after it did, the errors.

    Of what didn't come the time is None.
    """
    client = Client(port)
    body = BODY if method == "PUT" else b""
    client.sample(method, keys[0], body)
    errors = 0
    seconds: float | None = None
    following: list[Sample] = []
    start = time.perf_counter()
    outage.begin()
    try:
        while client.sample(method, keys[1], body).status != GOOD[method]:
            errors += 1
            if time.perf_counter() - start > patience_seconds:
                break
        else:
            seconds = time.perf_counter() - start
            following = [client.sample(method, key, body) for key in keys[:20]]
    finally:
        client.close()
        outage.end()
    good = [one.seconds for one in following if one.status == GOOD[method]]
    errors += len(following) - len(good)
    following_seconds = percentile(good, 0.5) if good else None
    return {"seconds": seconds, "errors": errors, "next": following_seconds}


def summarise_first_answers(raw: Mapping[str, Sequence[Found]]) -> dict[str, Any]:
    """Return medians of the rounds with an answer, and how many had none."""
    result = summarise(raw)
    for title, found in raw.items():
        result[title]["rounds"] = len(found)
        result[title]["unanswered"] = sum(one["seconds"] is None for one in found)
    return result


def measure_throughput(
    system: System, keys: Sequence[str], rounds: int, seconds: float
) -> dict[str, Any]:
    """Return rates and latencies with all nodes alive and with one of them dead."""
    raw: dict[str, list[Found]] = {}
    for _ in range(rounds):
        outage = Outage(system, "killed")
        add_load(raw, "alive", system, outage.name, keys, seconds)
        outage.begin()
        try:
            run_load(system.port, "GET", keys, CONNECTIONS, NOTICED_SECONDS)
            add_load(raw, "dead", system, outage.name, keys, seconds)
        finally:
            outage.end()
    return summarise(raw)


def add_load(
    raw: dict[str, list[Found]],
    state: str,
    system: System,
    victim: str,
    keys: Sequence[str],
    seconds: float,
) -> None:
    """Measure GET and PUT, and add what was found to `raw`."""
    for method in GOOD:
        samples = run_load(system.port, method, keys, CONNECTIONS, seconds)
        found = describe(samples, seconds, lambda key: victim in system.needed(key))
        raw.setdefault(f"{state} {method}", []).append(found)


def measure_fall(
    system: System, keys: Sequence[str], rounds: int, kinds: Sequence[str]
) -> dict[str, Any]:
    """Return what requests under way see when a node goes: errors, the slowest."""
    raw: dict[str, list[Found]] = {}
    for _ in range(rounds):
        for kind in kinds:
            for method in GOOD:
                found = fall(system, method, keys, Outage(system, kind))
                raw.setdefault(f"{kind} {method}", []).append(found)
    return summarise(raw)


def fall(
    system: System, method: str, keys: Sequence[str], outage: Outage
) -> dict[str, float]:
    """Take a node down in the middle of load."""
    seconds = FALL_SECONDS
    try:
        samples = run_load(
            system.port, method, keys, CONNECTIONS, seconds, outage.begin
        )
    finally:
        outage.end()
    return describe(samples, seconds, lambda key: outage.name in system.needed(key))


def summarise(raw: Mapping[str, Sequence[Found]]) -> dict[str, Any]:
    """Return medians over the rounds; None is left out, and stays if it is all."""
    result: dict[str, Any] = {}
    for title, found in raw.items():
        result[title] = {}
        for name in found[0]:
            there = [value for one in found if (value := one[name]) is not None]
            result[title][name] = over_rounds(there) if there else None
    return result


def describe(
    samples: Sequence[Sample], seconds: float, needs_victim: Callable[[str], bool]
) -> dict[str, float]:
    """Return rate, errors and latencies; those of keys on and off one node apart.

    The rate is of good answers within the time, the latencies of all requests.
    """
    is_on = {sample.key: needs_victim(sample.key) for sample in samples}
    on = [sample.seconds for sample in samples if is_on[sample.key]]
    off = [sample.seconds for sample in samples if not is_on[sample.key]]
    good = [sample for sample in samples if sample.status in GOOD.values()]
    return {
        "rate": sum(not sample.is_late for sample in good) / seconds,
        "errors": len(samples) - len(good),
        "on_p50": percentile(on, 0.50),
        "on_p99": percentile(on, 0.99),
        "on_max": max(on, default=0.0),
        "off_p50": percentile(off, 0.50),
        "off_p99": percentile(off, 0.99),
        "off_max": max(off, default=0.0),
        "over_1s": sum(value > 1.0 for value in (*on, *off)),
    }
