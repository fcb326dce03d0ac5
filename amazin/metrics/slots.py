"""Gives each worker a slot, and all of them a folder, so that their counters go on.

A worker that takes the place of another one goes on with its counters: they never go
back while the server runs, and their files don't become more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

SLOT, FOLDER = "AMAZIN_WORKER", "AMAZIN_METRICS_DIR"
"""The variables by which a worker knows its slot and the folder."""
MEMORY = Path("/dev/shm")
ROOM_BYTES = 16 * 2**20
"""So much must be free: who writes to a file in memory that can't grow is killed."""
_PREFIX = "amazin-metrics-"
_held: dict[str, int] = {}
"""Descriptors of the folders that this process made, which it holds locked."""


def make_folder(parents: tuple[Path, ...] = (), room: int = ROOM_BYTES) -> str:
    """Make the folder in memory if that can be, and return it; ends if none can be."""
    for parent in 2 * (parents or (MEMORY, Path(tempfile.gettempdir()))):
        # Twice: another server may remove a folder before it is locked.
        with suppress(OSError):
            _remove_left(parent)
            free = os.statvfs(parent)
            if free.f_bavail * free.f_frsize < room:
                continue
            prefix = f"{_PREFIX}{os.getpid()}-"
            folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
            _held[folder] = _locked(folder)
            os.environ[FOLDER] = folder
            return folder
    sys.exit(
        f"Settings: METRICS needs a temporary folder with {room // 2**20} MiB; "
        "set TMPDIR, or METRICS=false"
    )


def kept(folder: str) -> str:
    """Return the folder, made again if it is gone; "": it is not of this user.

    A login that ends may remove what its user has in memory, and the server goes on.
    """
    path = Path(folder)
    with suppress(FileExistsError):
        path.mkdir(0o700)
    return folder if path.lstat().st_uid == os.getuid() else ""


def remove_folder() -> None:
    """Remove the folder with all counters, unless another process made it."""
    folder = os.environ.get(FOLDER, "")
    if folder and _owner(Path(folder)) == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
        if folder in _held:
            os.close(_held.pop(folder))


def _remove_left(parent: Path) -> None:
    """Remove what servers of this user left there that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                number = _locked(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(number)


def _locked(folder: str | Path) -> int:
    """Lock a folder, and return the descriptor that holds it.

    Process ids would not tell who lives: containers may share the folder's parent.

    Raises: OSError, if it is no folder, or its server or one of its workers runs.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        raise
    return number


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
