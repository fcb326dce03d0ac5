"""Writes what a run does and has found to the nodes, while it runs and at its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from amazin.cluster.cluster import Cluster
from amazin.cluster.repair_results import (
    MOST_PROBLEMS,
    RepairResult,
    RepairRun,
    read_repair,
    write_repair,
)
from amazin.errors import GatewayError
from amazin.membership.member import CLOSE_SECONDS
from amazin.repair.report import Report

WRITE_SECONDS = 10.0

log = logging.getLogger("amazin.repair")


class Journal:
    """One run's entry; a context in which a thread writes it again and again.

    A run never waits for that, and goes on if it fails.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[], bool] | None = None,
    ) -> None:
        """`sleep` is the pause before each writing; it returns whether to stop."""
        self._cluster = cluster
        self._clock_ns = clock_ns
        self._ending = threading.Event()
        self._sleep = sleep or (lambda: self._ending.wait(WRITE_SECONDS))
        self._began_ns = clock_ns()
        self._before: RepairResult | None = None
        self._has_read = False
        self._thread = threading.Thread(
            target=self._write_often, name="repair's report", daemon=True
        )
        self.report = Report()
        """The newest; whoever runs sets it."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join(CLOSE_SECONDS)

    def end(self, report: Report) -> None:
        """Write what came of the run."""
        self.report = report
        self._ending.set()
        self._thread.join(CLOSE_SECONDS)
        if failure := self._write(ended_ns=self._clock_ns()):
            log.warning("the report of the repair can't be stored: %s", failure)

    def _write_often(self) -> None:
        while not self._sleep():
            self._write()

    def _write(self, ended_ns: int = 0) -> GatewayError | None:
        try:
            if not self._has_read:
                self._before = self._read()
                self._has_read = True
            write_repair(self._cluster, self._result(ended_ns))
        except GatewayError as exc:
            return exc
        return None

    def _read(self) -> RepairResult | None:
        try:
            return read_repair(self._cluster)
        except GatewayError as exc:
            log.info("the last report of a repair can't be read: %s", exc)
            return None

    def _result(self, ended_ns: int) -> RepairResult:
        run, now_ns = run_of(self.report, self._began_ns, ended_ns), self._clock_ns()
        result = replace(self._before or RepairResult(run), run=run, written_ns=now_ns)
        if ended_ns:
            result.last = run
            result.well_ns = ended_ns if run.is_well else result.well_ns
        if self.report.nodes:
            result.nodes, result.left = self.report.nodes, self.report.left
            result.counted_ns = now_ns
        return result


def run_of(report: Report, began_ns: int, ended_ns: int) -> RepairRun:
    """Return what is stored of a report."""
    return RepairRun(
        began_ns,
        ended_ns,
        report.objects,
        report.copies,
        report.bytes,
        report.removals,
        report.mended,
        report.under_replicated,
        report.misplaced,
        report.failures,
        report.is_whole,
        report.is_well,
        report.problems[:MOST_PROBLEMS],
    )
