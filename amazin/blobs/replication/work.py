"""Compares the copies of single blobs, and copies them to all servers of their group.

Different bytes under one id are reported and never replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from amazin.blobs.replication.lists import Blob
from amazin.blobs.replication.mirrors import (
    BlobTransfer,
    DamagedSourceError,
    DifferentError,
    Digest,
    IsThereError,
    Mirror,
    SourceError,
    TargetError,
    read_digest,
)
from amazin.blobs.store import is_sha1

MAX_PROBLEMS = 1000
"""The most problems that a report has as text; others are counted."""

Say = Callable[[Sequence[str]], object]
"""Prints lines together; several threads call it."""


@dataclass
class Report:
    """What a run did, and what is left to be done."""

    blobs: int = 0
    """Number of ids."""
    copied: int = 0
    """Number of ids that were copied."""
    copies: int = 0
    bytes: int = 0
    """Size of these copies."""
    damaged: int = 0
    """Copies whose SHA-1 is not their id."""
    differing: int = 0
    """Ids whose copies have different bytes."""
    failures: int = 0
    """Copies that could not be made or read."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Reasons why servers were left out, or copies not made, by URL."""
    problems: list[str] = field(default_factory=list)
    """A sentence for each problem, `MAX_PROBLEMS` at most."""
    more_problems: int = 0
    """Number of further problems."""

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to be done."""
        return not (self.problems or self.left_out)


class Mirroring:
    """Mirrors the blobs of one group. Thread-safe."""

    def __init__(
        self,
        mirrors: Sequence[Mirror],
        report: Report,
        say: Say,
        *,
        is_check: bool = False,
    ) -> None:
        """`is_check`: whether every copy is read."""
        self._mirrors = mirrors
        self._report = report
        self._say = say
        self._is_check = is_check
        self._lock = threading.Lock()

    def is_idle(self, blob: Blob) -> bool:
        """Whether a blob needs neither comparing nor copying."""
        return blob.is_everywhere and not self._must_read(blob)

    def _must_read(self, blob: Blob) -> bool:
        return self._is_check or blob.must_be_read()

    def work(self, blob: Blob) -> None:
        """Compare and copy one blob, as far as possible; report problems."""
        pairs = list(zip(self._mirrors, blob.copies, strict=True))
        sources = [mirror for mirror, copy in pairs if copy is not None]
        if len(sources) > 1:
            self._say([present(blob.id, mirror) for mirror in sources])
        if self._must_read(blob):
            sources = self._same(blob.id, sources)
        targets = [mirror for mirror, copy in pairs if copy is None]
        copies = 0
        for target in targets:
            if sources and self._copy(blob.id, sources, target):
                sources.append(target)
                copies += 1
        self._count(copies=copies)

    def _count(
        self,
        *,
        sent: int = 0,
        copies: int = 0,
        damaged: int = 0,
        differing: int = 0,
        failures: int = 0,
        problem: str = "",
    ) -> None:
        """Add to the numbers and problems of the report."""
        with self._lock:
            self._report.bytes += sent
            self._report.copied += bool(copies)
            self._report.copies += copies
            self._report.damaged += damaged
            self._report.differing += differing
            self._report.failures += failures
            if problem and len(self._report.problems) < MAX_PROBLEMS:
                self._report.problems.append(problem)
            else:
                self._report.more_problems += bool(problem)

    # Comparing

    def _same(self, blob_id: str, mirrors: Sequence[Mirror]) -> list[Mirror]:
        """Read all copies; return the servers to copy from, none if copies differ."""
        digests: dict[Mirror, Digest] = {}
        for mirror in mirrors:
            if mirror.reason:
                mirror.note_undone()
                continue
            try:
                digests[mirror] = read_digest(mirror, blob_id)
            except SourceError as exc:
                problem = f"{blob_id} can't be read on {mirror.url}: {exc}"
                self._count(failures=1, problem=problem)
        if is_sha1(blob_id):
            wrong = [m for m, digest in digests.items() if digest.sha1 != blob_id]
            for mirror in wrong:
                self._note_damage(blob_id, mirror)
            return [mirror for mirror in digests if mirror not in wrong]
        if len(set(digests.values())) > 1:
            self._note_difference(blob_id, digests)
            return []
        return list(digests)

    def _note_damage(self, blob_id: str, mirror: Mirror) -> None:
        problem = f"{blob_id} is damaged on {mirror.url}: its bytes have another SHA-1"
        self._count(damaged=1, problem=problem)

    def _note_difference(self, blob_id: str, digests: Mapping[Mirror, Digest]) -> None:
        copies = ", ".join(
            f"{mirror.url} has {digest.size} bytes with the SHA-1 {digest.sha1}"
            for mirror, digest in digests.items()
        )
        problem = f"{blob_id} has different contents: {copies}"
        self._count(differing=1, problem=problem)

    # Copying

    def _copy(self, blob_id: str, sources: list[Mirror], target: Mirror) -> bool:
        """Copy a blob to a server without a copy; return whether that succeeded.

        Sources that fail are removed from the list.
        """
        if target.reason or target.is_full:
            target.note_undone()
            return False
        useful = [source for source in sources if not source.reason]
        if not useful:
            sources[0].note_undone()
            return False
        lines, problem = [missing(blob_id, target)], ""
        for source in useful:
            try:
                self._transfer(blob_id, source, target, lines)
                return True
            except IsThereError:
                self._say([present(blob_id, target)])
                return False
            except SourceError as exc:
                sources.remove(source)
                if isinstance(exc, DamagedSourceError):
                    self._note_damage(blob_id, source)
                problem = f"{source.url}: {exc}"
            except TargetError as exc:
                is_different = isinstance(exc, DifferentError)
                self._count(differing=is_different)
                problem = str(exc)
                break
        self._say(lines)
        problem = f"{blob_id} can't be copied to {target.url}: {problem}"
        self._count(failures=1, problem=problem)
        return False

    def _transfer(
        self, blob_id: str, source: Mirror, target: Mirror, lines: list[str]
    ) -> None:
        """Copy a blob; print `lines` and others together when the upload begins.

        Raises: as `BlobTransfer.run`.
        """
        lines.append(f"\t\tMirroring {blob_id} from {source.url} to {target.url}")
        lines.append(f"\tFetching :{source.url}/blob/{blob_id}")

        def begin() -> None:
            lines.append(f"\tUploading :{target.url}/blob/{blob_id}")
            self._say(lines)
            lines.clear()

        def count(sent: int) -> None:
            self._count(sent=sent)

        BlobTransfer(blob_id, source, target, begin, count).run()


def present(blob_id: str, mirror: Mirror) -> str:
    """Return the line for a copy that exists."""
    return f"\tObject {blob_id} is present on {mirror.url}"


def missing(blob_id: str, mirror: Mirror) -> str:
    """Return the line for a copy that is missing."""
    return f"\tObject {blob_id} is missing on {mirror.url}"
