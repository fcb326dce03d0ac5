"""Mirrors the blobs within each group of blob servers, old `sos` ones and ours.

Writes the list of each server of a group to disk, merges the lists, and copies each
blob to the servers without a copy (`work.py`). A run can be stopped and started again
at any moment.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import IO, NamedTuple

from amazin.blobs.replication.lists import Blob, merged, read_list, write_list
from amazin.blobs.replication.mirrors import Mirror, MirrorServer
from amazin.blobs.replication.work import Mirroring, Report, Say
from amazin.blobs.sos_conf import shown
from amazin.errors import NodeError, RepairError
from amazin.units import counted
from amazin.workers import for_each

JOBS = 4
"""How many blobs are compared or copied at once."""


@dataclass(frozen=True)
class Options:
    """The options of a run."""

    jobs: int = JOBS
    is_check: bool = False
    """Whether every copy is read and compared with its id."""
    spool_dir: str | None = None
    """Where the lists are written; None: the system's folder for temporary files."""


class Stage(NamedTuple):
    """The progress of a run."""

    group: str
    report: Report
    """The report so far, which the run goes on to change."""
    done: int = 0
    total: int | None = None
    """Number of blobs of the group with something to do; None: not known yet."""


OnProgress = Callable[[Stage], object]


def print_nothing(lines: Sequence[str]) -> None:
    """Print nothing: a `Say`."""


class Replication:
    """One run over all groups."""

    def __init__(
        self,
        connect: Callable[[str], MirrorServer],
        options: Options,
        say: Say = print_nothing,
        on_progress: OnProgress | None = None,
    ) -> None:
        """`connect` gets a URL; `on_progress` is called by one thread at a time."""
        self._connect = connect
        self._options = options
        self._say = say
        self._on_progress = on_progress
        self._report = Report()

    def run(self, groups: Mapping[str, Sequence[str]]) -> Report:
        """Mirror the servers of each group, by their URLs.

        Raises:
            RepairError: the lists can't be written.
        """
        for group, urls in groups.items():
            self._say([f"Syncing group: {group}"])
            self._say([f"\tGroup member: {shown(url)}" for url in urls])
            if len(urls) > 1 or self._options.is_check:
                self._run_group(group, urls)
        return self._report

    def _run_group(self, group: str, urls: Sequence[str]) -> None:
        with ExitStack() as stack:
            mirrors = [
                Mirror(shown(url), stack.enter_context(closing(self._connect(url))))
                for url in urls
            ]
            if self._on_progress:
                self._on_progress(Stage(group, self._report))
            files = self._lists(mirrors, stack)
            if len(files) > 1 or self._options.is_check:
                self._mirror(group, files)
            for mirror in mirrors:
                self._note_end(mirror)

    def _lists(
        self, mirrors: Sequence[Mirror], stack: ExitStack
    ) -> dict[Mirror, IO[str]]:
        """Write all lists to disk, in parallel; leave out servers whose lists fail."""
        files = {mirror: self._new_file(stack) for mirror in mirrors}
        for_each(lambda mirror: fetch_list(mirror, files[mirror]), files, len(files))
        return {mirror: file for mirror, file in files.items() if not mirror.reason}

    def _new_file(self, stack: ExitStack) -> IO[str]:
        folder = self._options.spool_dir
        try:
            return stack.enter_context(
                tempfile.TemporaryFile("w+", encoding="ascii", dir=folder)
            )
        except OSError as exc:
            raise no_room(exc) from exc

    def _mirror(self, group: str, files: Mapping[Mirror, IO[str]]) -> None:
        """Mirror the blobs of a group, several at once."""
        mirroring = Mirroring(
            list(files), self._report, self._say, is_check=self._options.is_check
        )
        total, done, lock = None, 0, threading.Lock()
        if self._on_progress:
            total = sum(not mirroring.is_idle(blob) for blob in listed(files))

        def work(blob: Blob) -> None:
            nonlocal done
            mirroring.work(blob)
            with lock:
                done += 1
                if self._on_progress:
                    self._on_progress(Stage(group, self._report, done, total))

        for_each(work, self._busy(mirroring, files), self._options.jobs)

    def _busy(
        self, mirroring: Mirroring, files: Mapping[Mirror, IO[str]]
    ) -> Iterator[Blob]:
        """Yield the blobs with something to do; count all blobs."""
        for blob in listed(files):
            self._report.blobs += 1
            if mirroring.is_idle(blob):
                mirroring.work(blob)
            else:
                yield blob

    def _note_end(self, mirror: Mirror) -> None:
        """Add a server to the report if it was left out or copies were not made."""
        if mirror.reason or mirror.undone:
            reason = mirror.reason or "it takes no more uploads"
            self._report.left_out[mirror.url] = undone_reason(reason, mirror.undone)


def fetch_list(mirror: Mirror, file: IO[str]) -> None:
    """Write a server's list to disk; leave the server out if that fails.

    Raises:
        RepairError: the file can't be written.
    """
    try:
        mirror.is_old = not write_list(mirror.server, file)
    except NodeError as exc:
        mirror.leave_out(exc)
    except OSError as exc:
        raise no_room(exc) from exc


def listed(files: Mapping[Mirror, IO[str]]) -> Iterator[Blob]:
    """Yield all blobs of these lists, from the beginning."""
    return merged([read_list(file) for file in files.values()])


def undone_reason(reason: str, undone: int) -> str:
    """Return why a server is left out, and how many copies were not made."""
    if not undone:
        return reason
    were = "was" if undone == 1 else "were"
    return f"{reason}; {counted(undone, 'copy')} {were} not made"


def no_room(error: OSError) -> RepairError:
    """Return the error for a list that can't be written."""
    return RepairError(f"SPOOL_DIR: no place for the lists of blobs: {error.strerror}")
