"""Reads every copy on the nodes, to find those whose bytes are damaged or gone.

It can be stopped, and goes on where it was. What it finds is mended in `objects.py`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from amazin.cluster.check_results import (
    MOST_LOST_NAMES,
    CheckResult,
    read_result,
    write_result,
)
from amazin.cluster.cluster import Cluster
from amazin.cluster.copy_reading import is_verifying, read_copy
from amazin.errors import GatewayError, NodeError
from amazin.model.objects import ObjectInfo, ObjectName
from amazin.model.stored_names import shown
from amazin.repair.objects import KeyRepair, RepairContext

SAVE_SECONDS = 30.0
"""How often what was found is stored: so much is read again after a crash."""

log = logging.getLogger("amazin.repair")


class Check:
    """One check of all copies, or the rest of one. Thread-safe."""

    def __init__(
        self,
        context: RepairContext,
        key_repair: KeyRepair,
        cluster: Cluster | None,
        clock_ns: Callable[[], int],
    ) -> None:
        """Without a cluster nothing is stored, and the check begins anew."""
        self._context = context
        self._key_repair = key_repair
        self._cluster = cluster
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._running: dict[str, bool] = {}
        """Keys that are being checked, in order, and whether that is over."""
        self._saved_at = time.monotonic()
        self.result = self._last() or CheckResult(clock_ns())
        self.result.is_whole &= context.is_complete
        key_repair.report.has_resumed = bool(self.result.after)

    def _last(self) -> CheckResult | None:
        """Return the last check, if it did not come to its end."""
        if self._cluster is None:
            return None
        try:
            found = read_result(self._cluster)
        except GatewayError as exc:
            log.warning(
                "the check begins anew, for the last one can't be read: %s", exc
            )
            return None
        return None if found is None or found.ended_ns else found

    def begin(self, name: ObjectName) -> bool:
        """Return whether the copies of a key are to be read; keys come in order."""
        if name.key <= self.result.after:
            return False
        with self._lock:
            self._running[name.key] = False
        return True

    def end(self, name: ObjectName) -> None:
        """Note that a key is done."""
        with self._lock:
            self._running[name.key] = True
            for key, is_over in list(self._running.items()):
                if not is_over:
                    break
                self.result.after = key
                del self._running[key]

    def read(
        self, name: ObjectName, listed: Mapping[str, ObjectInfo]
    ) -> tuple[dict[str, ObjectInfo], NodeError | None]:
        """Read all copies; return by node those that are damaged or gone.

        And why another one can't be read now, if there is such a one.
        """
        bad: dict[str, ObjectInfo] = {}
        failure: NodeError | None = None
        for node in sorted(listed.keys() - self._context.snapshot.lost):
            member = self._context.members[node]
            try:
                info = read_copy(member, name, self._key_repair.throttle.take)
            except NodeError as exc:
                self._add(unread=1)
                failure = exc
                continue
            if info:
                self._add(copies=1, size=info.size, damaged=info.is_damaged)
            if info and info.is_damaged:
                bad[node] = info
                if not is_verifying(member):
                    log.warning("the copy of %s on %s is damaged", shown(name), node)
        return bad, failure

    def note_mended(self, name: ObjectName, count: int, is_lost: bool) -> None:
        """Count what came of the damaged copies of a key."""
        self._add(mended=count, lost=int(is_lost))
        if is_lost and len(self.result.lost_names) < MOST_LOST_NAMES:
            self.result.lost_names.append(shown(name))

    def _add(self, **numbers: int) -> None:
        report = self._key_repair.report
        with self._lock:
            for name, number in numbers.items():
                setattr(self.result, name, getattr(self.result, name) + number)
            report.checked += numbers.get("copies", 0)
            report.checked_bytes += numbers.get("size", 0)
            report.damaged += numbers.get("damaged", 0)

    def save_in_time(self) -> None:
        """Store what was found, if that is long ago."""
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self, *, is_over: bool = False) -> None:
        """Store what was found; if that fails, only the next run has more to do."""
        self._saved_at = time.monotonic()
        with self._lock:
            self.result.written_ns = self._clock_ns()
            if is_over:
                self.result.ended_ns = self.result.written_ns
        if self._cluster is None:
            return
        try:
            write_result(self._cluster, self.result)
        except GatewayError as exc:
            log.warning("what the check found can't be stored: %s", exc)
