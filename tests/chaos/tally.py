"""Counts what happens in the chaos test, and says it. Thread-safe."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

KEPT_MESSAGES = 20
WORKER_SECONDS = 1.0
"""So long after a worker's death connections to it may still break."""


class Tally:
    """All that is counted while the test runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: dict[str, Counter[str]] = {}
        self._seconds: dict[str, array[float]] = {}
        self._returns = array("d")
        self._gateway_gone = -math.inf, -math.inf
        self.events: Counter[str] = Counter()
        self.wrong = 0
        self.lost: set[str] = set()
        self.messages: list[str] = []
        """The first wrong answers, with the key's last writes."""

    @property
    def operations(self) -> int:
        """How many requests came to an end."""
        with self._lock:
            return sum(counter.total() for counter in self._outcomes.values())

    def count(self, method: str, outcome: str, seconds: float) -> None:
        """Count a request by its status, or `broken`; errors have no latency.

        To be called at its end: what broke while a gateway was killed is `cut`.
        """
        with self._lock:
            gone, back = self._gateway_gone
            if outcome == "broken" and gone <= time.monotonic() <= back + seconds:
                outcome = "cut"
            self._outcomes.setdefault(method, Counter())[outcome] += 1
            times = self._seconds.setdefault(method, array("d"))
            if outcome.isdigit() and int(outcome) < 500:
                times.append(seconds)

    def note_event(self, event: str) -> None:
        """Count something that was done to a process."""
        with self._lock:
            self.events[event] += 1

    def note_gateway_gone(self, seconds: float = math.inf) -> None:
        """Note that a gateway, or one of its workers, is about to be killed."""
        with self._lock:
            now = time.monotonic()
            self._gateway_gone = now, now + seconds

    def note_gateway_back(self) -> None:
        """Note that it serves again."""
        with self._lock:
            self._gateway_gone = self._gateway_gone[0], time.monotonic()

    def note_return(self, seconds: float, is_noticed: bool) -> None:
        """Note how long nodes served again until all gateways used them again."""
        with self._lock:
            self._returns.append(seconds)
            self.events["return missed"] += not is_noticed

    def note_wrong(self, message: str, trail: Iterable[str] = ()) -> None:
        """Count a wrong answer."""
        with self._lock:
            self.wrong += 1
        self._keep(message, trail)

    def note_lost(self, key: str, message: str, trail: Iterable[str] = ()) -> None:
        """Count a key that does not hold, at the end, what it has to."""
        with self._lock:
            self.lost.add(key)
        self._keep(f"lost {key}: {message}", trail)

    def _keep(self, message: str, trail: Iterable[str]) -> None:
        with self._lock:
            if len(self.messages) < KEPT_MESSAGES:
                self.messages.append("\n    ".join([message, *trail]))

    def figures(self) -> dict[str, Any]:
        """Return everything as JSON shows it."""
        with self._lock:
            methods = {name: self._method(name) for name in sorted(self._outcomes)}
            outcomes = sum(self._outcomes.values(), Counter[str]())
            return {
                "operations": outcomes.total(),
                "kills": self.events["node kill"],
                "wrong_answers": self.wrong,
                "lost_objects": len(self.lost),
                "share_503": share(outcomes["503"], outcomes.total()),
                "share_broken": share(outcomes["broken"], outcomes.total()),
                "share_cut": share(outcomes["cut"], outcomes.total()),
                "events": dict(sorted(self.events.items())),
                "return_p50_ms": percentile(sorted(self._returns), 0.50),
                "return_p99_ms": percentile(sorted(self._returns), 0.99),
                "methods": methods,
                "messages": self.messages,
            }

    def _method(self, name: str) -> dict[str, Any]:
        counter, times = self._outcomes[name], sorted(self._seconds[name])
        return {
            "count": counter.total(),
            "outcomes": dict(sorted(counter.items())),
            "p50_ms": percentile(times, 0.50),
            "p99_ms": percentile(times, 0.99),
        }


def share(part: int, whole: int) -> float:
    """Return a share; 0 of nothing."""
    return round(part / whole, 5) if whole else 0.0


def percentile(ordered: list[float], rank: float) -> float | None:
    """Return a percentile of ordered seconds, in milliseconds."""
    if not ordered:
        return None
    return round(1000 * ordered[min(len(ordered) - 1, int(rank * len(ordered)))], 1)


def lines(figures: Mapping[str, Any]) -> list[str]:
    """Return the figures as people read them; the first line is the sum of all."""
    text = [
        f"operations {figures['operations']}  kills {figures['kills']}  "
        f"wrong answers {figures['wrong_answers']}  "
        f"lost objects {figures['lost_objects']}  "
        f"answered 503 {100 * figures['share_503']:.2f} %",
        f"cut by a killed gateway {100 * figures['share_cut']:.2f} %, "
        f"else broken {100 * figures['share_broken']:.2f} %",
        "done to processes: "
        + "  ".join(f"{name}: {count}" for name, count in figures["events"].items()),
        f"nodes were used again p50 {figures['return_p50_ms']} ms, "
        f"p99 {figures['return_p99_ms']} ms after they served again",
    ]
    for name, method in figures["methods"].items():
        outcomes = "  ".join(f"{k}: {n}" for k, n in method["outcomes"].items())
        text.append(
            f"{name:8} {method['count']:7}  p50 {method['p50_ms']} ms  "
            f"p99 {method['p99_ms']} ms  {outcomes}"
        )
    return text
