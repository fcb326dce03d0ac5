"""Slots of workers, and the folder of their counters."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, values

from amazin.metrics.slots import (
    FOLDER,
    SLOT,
    Slots,
    kept,
    make_folder,
    remove_folder,
)


def taken_by(slots: Slots, worker: object) -> str:
    slots.take(worker)
    return os.environ[SLOT]


def dead_pid() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(20)
    return process.pid


def test_a_worker_takes_the_lowest_free_slot() -> None:
    slots = Slots()
    assert [taken_by(slots, worker) for worker in "abc"] == ["1", "2", "3"]
    slots.free("b")
    slots.free("a")
    assert [taken_by(slots, worker) for worker in "def"] == ["1", "2", "4"]


def test_a_worker_that_never_began_frees_nothing() -> None:
    slots = Slots()
    slots.free("a")
    assert taken_by(slots, "b") == "1"
    slots.free("a")
    assert taken_by(slots, "c") == "2"


def test_a_slot_that_is_freed_keeps_the_counters_and_drops_what_only_it_had(
    tmp_path: Path,
) -> None:
    os.environ[FOLDER] = os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    slots = Slots()
    slot = taken_by(slots, "a")
    values.ValueClass = values.MultiProcessValue(lambda: slot)
    Counter("kept", "", registry=None).inc()
    Gauge("live", "", registry=None, multiprocess_mode="livesum").set(1)
    Gauge("worst", "", registry=None, multiprocess_mode="livemax").set(1)
    assert len(list(tmp_path.iterdir())) == 3
    slots.free("a")
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]


def test_the_folder_is_of_its_user_alone(tmp_path: Path) -> None:
    folder = Path(make_folder((tmp_path,)))
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ[FOLDER] == str(folder)
    remove_folder()
    assert list(tmp_path.iterdir()) == []


def test_two_servers_have_two_folders(tmp_path: Path) -> None:
    first, second = make_folder((tmp_path,)), make_folder((tmp_path,))
    assert first != second
    assert len(list(tmp_path.iterdir())) == 2


def test_a_parent_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    parents = (tmp_path / "none", tmp_path / "file", tmp_path)
    assert Path(make_folder(parents)).parent == tmp_path


def test_without_any_folder_the_server_ends_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"METRICS .* TMPDIR"):
        make_folder((tmp_path / "none",))


def test_where_there_is_no_room_no_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="16777216 MiB"):
        make_folder((tmp_path,), 2**44)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_servers_are_removed(tmp_path: Path) -> None:
    left = (
        tmp_path / f"amazin-metrics-{os.getppid()}-abc"
    )  # a number that is used again
    left.mkdir()
    (left / "counter_1.db").touch()
    mine = Path(make_folder((tmp_path,)))
    assert [*tmp_path.iterdir()] == [mine]


def test_the_folder_of_a_server_that_runs_stays(tmp_path: Path) -> None:
    first = Path(make_folder((tmp_path,)))
    # In another container it has a number that is no process here.
    other = first.rename(tmp_path / f"amazin-metrics-{dead_pid()}-abc")
    second = Path(make_folder((tmp_path,)))
    assert {*tmp_path.iterdir()} == {other, second}


def test_what_others_have_there_stays(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "data").touch()
    link = tmp_path / f"amazin-metrics-{dead_pid()}-link"
    link.symlink_to(tmp_path / "target")
    (tmp_path / f"amazin-metrics-{dead_pid()}-file").touch()
    (tmp_path / "amazin-metricsx").mkdir()
    (tmp_path / "other").mkdir()
    before = {*tmp_path.iterdir()}
    mine = Path(make_folder((tmp_path,)))
    assert {*tmp_path.iterdir()} == {*before, mine}
    assert (tmp_path / "target" / "data").exists()


def test_only_who_made_the_folder_removes_it(tmp_path: Path) -> None:
    folder = Path(make_folder((tmp_path,)))
    other = folder.rename(tmp_path / f"amazin-metrics-{os.getppid()}-abc")
    os.environ[FOLDER] = str(other)
    remove_folder()
    assert other.exists()
    del os.environ[FOLDER]
    remove_folder()
    assert other.exists()


def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    folder = Path(make_folder((tmp_path,)))
    folder.rmdir()
    assert kept(str(folder)) == kept(str(folder)) == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
