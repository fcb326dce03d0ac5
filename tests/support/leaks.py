"""What a test leaves behind: threads, child processes, descriptors."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

PATIENCE_SECONDS = 5.0
"""What was told to end may take so long."""
_OWN = Path("/proc/self")


class Holdings(NamedTuple):
    """What this process holds at a moment."""

    threads: frozenset[threading.Thread]
    children: frozenset[str]
    descriptors: frozenset[tuple[str, str]]
    """Number, and what it leads to."""

    @classmethod
    def now(cls) -> Holdings:
        """Look. Linux only."""
        children: set[str] = set()
        for task in _OWN.glob("task/*/children"):
            children.update(_read(task).split())
        descriptors = set()
        for file in (_OWN / "fd").iterdir():
            try:
                descriptors.add((file.name, str(file.readlink())))
            except OSError:  # that of the listing itself
                continue
        threads = frozenset(threading.enumerate())
        return cls(threads, frozenset(children), frozenset(descriptors))

    def left_since(self, before: Holdings) -> list[str]:
        """Return what is held now, and was not before, a line each."""
        return [
            *(f"thread {one.name}" for one in self.threads - before.threads),
            *(f"child {_command(pid)}" for pid in self.children - before.children),
            *(
                f"descriptor {number}: {target}"
                for number, target in self.descriptors - before.descriptors
            ),
        ]


def left_since(before: Holdings, kept: Set[int] = frozenset()) -> list[str]:
    """Return what is left of a test, when it had the time to end.

    `kept`: children that are not the test's, though they may have begun meanwhile.
    """
    before = before._replace(children=before.children | {*map(str, kept)})
    deadline = time.monotonic() + PATIENCE_SECONDS
    left = Holdings.now().left_since(before)
    if left:
        gc.collect()
    while (left := left and Holdings.now().left_since(before)) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)
    return left


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # a thread that has ended
        return ""


def _command(pid: str) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip() or pid
