"""Counters in shared memory are those that the library reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from amazin.metrics.cells import with_cells

LONG = 100_000
"""Of a label: a few of them, and their file grows."""
Make = Callable[..., Any]


def library() -> type[Any]:
    """Return the library's class, as a worker in slot 1 has it."""
    found: type[Any] = values.MultiProcessValue(lambda: "1")
    return found


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a function that makes a counter of a class; its file is the test's."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    kept = list(values._multi_process_cleanups)
    made: list[Any] = []

    def make(kind: type[Any], label: str = "a") -> Any:
        made.append(kind("counter", "asked", "asked_total", ("n",), (label,), "Words."))
        return made[-1]

    yield make
    for value in made:
        if hasattr(value, "_cells"):
            value._cells.release()
    values.close_all_multiprocess_files()
    values._multi_process_cleanups[:] = kept


def stored(folder: Path) -> list[float]:
    """Return the numbers in the file, as a scrape finds them."""
    entries = MmapedDict.read_all_values_from_file(f"{folder / 'counter_1.db'}")
    return [value for _, value, _, _ in entries]


def test_what_is_added_is_in_the_file(counter: Make, tmp_path: Path) -> None:
    value = counter(with_cells(library()))
    value.inc(2.5)
    value.inc(1)
    assert (value.get(), stored(tmp_path)) == (3.5, [3.5])


def test_a_later_worker_goes_on(counter: Make, tmp_path: Path) -> None:
    counter(with_cells(library())).inc(2)
    later = counter(with_cells(library()))
    later.inc(3)
    assert (later.get(), stored(tmp_path)) == (5, [5])


def test_a_file_that_grows_keeps_what_is_added(counter: Make, tmp_path: Path) -> None:
    kind = with_cells(library())
    first = counter(kind, "first")
    size = (tmp_path / "counter_1.db").stat().st_size
    rest = [counter(kind, f"{number}" * LONG) for number in range(30)]
    assert (tmp_path / "counter_1.db").stat().st_size > size
    for value in (first, *rest):
        value.inc(1)
    assert stored(tmp_path) == [1.0] * 31


def test_a_library_that_has_changed_counts_its_own_way(counter: Make) -> None:
    class Changed:
        def __init__(self, *about: Any) -> None:
            self._file = object()
            self.added = 0.0

        def inc(self, amount: float) -> None:
            self.added += amount

    value = counter(with_cells(Changed))
    value.inc(4)
    assert value.added == 4
