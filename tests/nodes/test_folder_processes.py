"""Processes that share a folder node, fork, are killed, or run under gevent."""

from __future__ import annotations

import hashlib
import os
import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from amazin.model.objects import ObjectName
from amazin.nodes.folder.node import FolderNode
from tests.support.folder_node import (
    MEET,
    NAME,
    OLD,
    ask_index,
    body_of,
    content,
    fetch,
    finish,
    go,
    kill,
    make_version_1,
    read_line,
    resume,
    start,
    start_python,
    store,
)
from tests.support.waiting import await_that


@pytest.mark.parametrize("condition", ["if_absent=True", f"if_match={'0' * 32!r}"])
def test_of_racing_processes_one_wins(
    node: FolderNode, tmp_path: Path, condition: str, streams: bool
) -> None:
    rounds, racers = 8, 3
    etag = hashlib.md5(b"start").hexdigest()
    if "if_match" in condition:
        condition = f"if_match={etag!r}"
        for turn in range(rounds):
            store(node, b"start", ObjectName("store", f"key{turn}"), OLD)
    script = (
        "from amazin.errors import PreconditionError\n"
        f"{MEET}for turn in range({rounds}):\n"
        "    name = ObjectName('store', f'key{turn}')\n"
        "    try:\n"
        "        store(node, sys.argv[1].encode(), name, NEW, "
        f"{condition}, streams={streams})\n"
        "        print(turn)\n"
        "    except PreconditionError:\n"
        "        pass\n"
        "node.close()\n"
    )
    processes = [
        start_python(tmp_path, script, f"racer{racer}") for racer in range(racers)
    ]
    go(*processes)
    outputs = finish(*processes)
    winners = sorted(int(turn) for output in outputs for turn in output.split())
    assert winners == list(range(rounds))
    for racer, output in enumerate(outputs):
        for turn in output.split():
            name = ObjectName("store", f"key{int(turn)}")
            assert fetch(node, name) == f"racer{racer}".encode()


def test_an_upload_in_another_process_is_no_orphan_however_old(tmp_path: Path) -> None:
    script = (
        "node.make_bucket('store')\n"
        "upload = node.start_upload(NAME, 4, NEW, {}); upload.write(b'slow')\n"
        "print('ready', flush=True); input()\n"
        "upload.start_commit().wait(); node.close()\n"
    )
    process = start_python(tmp_path, script)
    assert read_line(process) == b"ready\n"
    (path,) = content(tmp_path)
    os.utime(path, (0, 0))
    with closing(FolderNode("node-1", tmp_path, orphan_age_seconds=0)) as node:
        node.start_check().wait()
        resume(process)
        finish(process)
        assert fetch(node) == b"slow"


def test_a_file_size_limit_is_an_error_and_the_old_object_stays(
    node: FolderNode, tmp_path: Path
) -> None:
    store(node, b"old")
    script = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        "    store(node, b'x' * 1_000_000)\n"
        "except NodeError as exc:\n"
        "    print(exc)\n"
        "node.close()\n"
    )
    assert finish(start_python(tmp_path, script)) == [b"the folder failed: EFBIG\n"]
    assert fetch(node) == b"old"
    assert len(content(tmp_path)) == 1


def test_processes_that_meet_in_an_empty_folder_fill_it_once(tmp_path: Path) -> None:
    script = (
        "for turn in range(10):\n"
        "    store(node, b'x', ObjectName('store', f'{sys.argv[1]}-{turn}'))\n"
        "node.close()\n"
    )
    finish(*(start_python(tmp_path, script, str(number)) for number in range(4)))
    with closing(FolderNode("node-1", tmp_path)) as node:
        assert len(list(node.list_objects("store"))) == 40
    assert not list(tmp_path.glob("*.new*"))


def test_processes_upgrade_an_index_once(tmp_path: Path) -> None:
    rounds = 5
    for turn in range(rounds):
        make_version_1(tmp_path / f"old{turn}", NAME)
    script = (
        f"{MEET}for turn in range({rounds}):\n"
        "    folder = Path(sys.argv[1]) / f'old{turn}'\n"
        "    with closing(FolderNode('node-1', folder)) as old:\n"
        "        assert fetch(old) == b'abc'\n"
        "        put(old, b'x', ObjectName('store', sys.argv[2]))\n"
        "node.close()\n"
    )
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    processes = [start_python(meeting, script, str(tmp_path), racer) for racer in "pqr"]
    go(*processes)
    finish(*processes)
    for turn in range(rounds):
        with closing(FolderNode("node-1", tmp_path / f"old{turn}")) as node:
            keys = [key for key, _ in node.list_objects("store")]
            assert keys == ["abc", "p", "q", "r"]


def test_a_node_used_before_a_fork_works_on_both_sides(tmp_path: Path) -> None:
    script = (
        "store(node, b'parent')\n"
        "child = os.fork()\n"
        "store(node, b'x', ObjectName('store', 'child' if not child else 'parent'))\n"
        "assert fetch(node) == b'parent'\n"
        "node.close()\n"
        "assert not child or os.waitpid(child, 0)[1] == 0\n"
    )
    finish(start_python(tmp_path, script))
    with closing(FolderNode("node-1", tmp_path)) as node:
        keys = [key for key, _ in node.list_objects("store")]
        assert keys == ["abc", "child", "parent"]


def check_whole(node: FolderNode, key: str) -> int:
    """Return the number in a writer's object, of which every byte is right."""
    with closing(node.start_get(ObjectName("store", key)).wait()) as found:
        data = b"".join(iter(found.read, b""))
    assert hashlib.md5(data).hexdigest() == found.info.etag
    name, number = data.split()[:2]
    assert name == key.encode()
    assert data == body_of(key, int(number))
    return int(number)


def overwrite_until_killed(folder: Path, seed: int, seconds: float) -> dict[str, int]:
    """Return the last number of each key that was acknowledged."""
    process = start_python(folder, f"overwrite(node, {seed}, 50_000)")
    try:
        lines = [read_line(process)]
        time.sleep(seconds)  # the random moment
    finally:
        lines += kill(process).splitlines(keepends=True)
    pairs = (line.decode().split() for line in lines if line.endswith(b"\n"))
    return {key: int(number) for key, number in pairs}


@pytest.mark.parametrize("turns", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_acknowledged_objects_survive_kill_9_whole(tmp_path: Path, turns: int) -> None:
    acknowledged: dict[str, int] = {}
    chance = random.SystemRandom()
    for turn in range(turns):
        seconds = chance.random() * 0.1
        acknowledged |= overwrite_until_killed(tmp_path, turn * 100_000, seconds)
        with closing(FolderNode("node-1", tmp_path)) as node:
            found = {key: check_whole(node, key) for key in acknowledged}
        # The one write that was not acknowledged may have happened.
        late = {key for key in found if found[key] != acknowledged[key]}
        assert len(late) <= 1
        assert all(found[key] - acknowledged[key] > 0 for key in late)
        acknowledged = found

    def is_swept() -> bool:  # opening it sweeps, for a limited time
        with closing(FolderNode("node-1", tmp_path, orphan_age_seconds=0)) as node:
            node.start_check().wait()
            return len(content(tmp_path)) == len(list(node.list_objects("store")))

    assert await_that(is_swept)
    assert ask_index(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_processes_that_write_the_same_keys_leave_whole_objects(
    node: FolderNode, tmp_path: Path
) -> None:
    scripts = [f"overwrite(node, {n}, 30); node.close()" for n in (0, 1000, 2000)]
    finish(*(start_python(tmp_path, script) for script in scripts))
    for key in ("key0", "key1", "key2"):
        check_whole(node, key)
    assert len(content(tmp_path)) == 3


def test_under_gevent_nothing_stops_the_event_loop(tmp_path: Path) -> None:
    program = ("-m", "tests.support.gevent_folder", str(tmp_path))
    (output,) = finish(start(*program))
    rounds, longest, seconds = map(float, output.split())
    assert rounds > 20
    assert longest < max(0.5, seconds / 4)  # a busy machine makes all wait
    with closing(FolderNode("node-1", tmp_path)) as node:
        for number in range(8):
            name = ObjectName("store", f"key{number}")
            assert fetch(node, name) == bytes([number]) * 4_000_000
