"""Gives each worker a slot, and all of them a folder, so that their counters go on.

A worker that takes the place of another one goes on with its counters: they never go
back while the server runs, and their files don't become more.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

SLOT, FOLDER = "AMAZIN_WORKER", "AMAZIN_METRICS_DIR"
"""The variables by which a worker knows its slot and the folder."""
MEMORY = Path("/dev/shm")
_PREFIX = "amazin-metrics-"


def make_folder(parents: tuple[Path, ...] = ()) -> str:
    """Make the folder in memory if that can be, and return it; ends if none can be."""
    for parent in parents or (MEMORY, Path(tempfile.gettempdir())):
        with suppress(OSError):
            _remove_left(parent)
            prefix = f"{_PREFIX}{os.getpid()}-"
            folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
            os.environ[FOLDER] = folder
            return folder
    sys.exit("Settings: METRICS needs a temporary folder; set TMPDIR, or METRICS=false")


def remove_folder() -> None:
    """Remove the folder with all counters, unless another process made it."""
    folder = os.environ.get(FOLDER, "")
    if folder and _owner(Path(folder)) == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: Path) -> None:
    """Remove what servers of this user left there that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            is_ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
            if is_ours and not Path(f"/proc/{_owner(folder)}").exists():
                shutil.rmtree(folder, ignore_errors=True)


def _owner(folder: Path) -> int:
    number = folder.name.removeprefix(_PREFIX).partition("-")[0]
    return int(number) if number.isdecimal() else 0


class Slots:
    """Which slots are taken by workers that run."""

    def __init__(self) -> None:
        self._taken: dict[object, int] = {}

    def take(self, worker: object) -> None:
        """Give the lowest free slot to the worker that is forked next."""
        taken = self._taken.values()
        slot = next(n for n in range(1, len(taken) + 2) if n not in taken)
        self._taken[worker] = slot
        os.environ[SLOT] = str(slot)

    def free(self, worker: object) -> None:
        """Free the slot of a worker that has ended, and drop what only it had."""
        slot = self._taken.pop(worker, None)
        if slot is not None and (folder := os.environ.get(FOLDER)):
            from prometheus_client.multiprocess import mark_process_dead

            mark_process_dead(slot, folder)
