"""What the `amazin` command promises to operators, on real folders."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import pytest

from amazin.cli.common import as_rate, as_seconds
from amazin.cli.main import main
from amazin.model.bodies import HeldBody
from amazin.model.objects import ObjectName
from amazin.model.stored_names import marker_name, stored_name
from amazin.repair.report import Report, one_line, to_do
from amazin.units import counted
from tests.support.lab import KEYS, REFRESH_SECONDS, Lab, read_terminal, run
from tests.support.small_disk import read_only
from tests.support.waiting import PATIENCE_SECONDS, await_that

# repair


def test_a_settled_cluster_is_left_as_it_is(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    lab.membership.refresh()
    before = lab.held()
    start = time.monotonic()
    result = lab.amazin("repair")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "looked at 20 objects: nothing to do\n"
    assert time.monotonic() - start < 4 * REFRESH_SECONDS + 1
    assert lab.held() == before


def test_where_nothing_is_stored_all_is_well(tmp_path: Path) -> None:
    result = Lab(tmp_path).amazin("repair")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "looked at 0 objects: nothing to do\n"


def test_a_new_node_gets_its_share_and_nothing_is_ever_missing(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.put(*KEYS)
    lab.add("node-4")
    lab.membership.refresh()
    assert lab.bodies(KEYS) == KEYS
    plan_ = lab.report("--dry-run")
    assert lab.held()["node-4"] == []
    result = lab.amazin("repair")
    assert (result.exit_code, result.stderr) == (0, "")
    moved = len(lab.held()["node-4"])
    assert plan_["copies"] == moved
    assert 1 <= moved <= 12
    assert result.stdout == (
        f"looked at 20 objects: made {moved} copies ({moved * 5} bytes), "
        f"removed {moved}, settled the new set of nodes\n"
    )
    assert lab.copies() == KEYS
    assert lab.bodies(KEYS) == KEYS
    assert lab.amazin("repair").stdout == "looked at 20 objects: nothing to do\n"


def test_a_node_that_no_gateway_has_noticed_is_waited_for_and_told(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path)
    lab.put(*KEYS)
    lab.add("node-4")
    result = lab.amazin("repair")
    assert result.exit_code == 1
    assert result.stderr == (
        "Until a gateway takes note of node-4: is one running?\n"
        "Not in use yet: node-4\n"
    )
    assert lab.held()["node-4"] == []


def test_a_node_of_weight_0_is_emptied(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2, nodes=4)
    lab.put(*KEYS)
    lab.add("node-2", weight=0)
    lab.membership.refresh()
    result = lab.amazin("repair")
    assert (result.exit_code, result.stderr) == (0, "")
    assert lab.held()["node-2"] == []
    assert lab.copies() == sorted(2 * KEYS)
    assert lab.bodies(KEYS) == KEYS


def test_an_empty_disk_is_filled(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    before = lab.held()
    lab.wipe("node-3")
    result = lab.amazin("repair")
    assert result.exit_code == 0, result.stderr
    assert lab.held() == before
    assert "made " in result.stdout
    assert lab.amazin("repair").stdout == "looked at 20 objects: nothing to do\n"


def test_an_empty_disk_that_had_the_only_copies_needs_a_decision(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path)
    lab.put(*KEYS)
    lab.wipe("node-3")
    result = lab.amazin("repair")
    assert result.exit_code == 1
    assert "Lost their disks: node-3. Objects may be gone for good" in result.stderr
    report = lab.report()
    assert not report["is_well"]
    assert report["problems"] == [result.stderr.splitlines()[-1]]


def test_a_missing_node_is_named_and_not_waited_for(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    lab.take_away("node-2")
    result = lab.amazin("repair")
    assert result.exit_code == 1
    assert "Not there: node-2 (unreachable: the folder is not there)" in result.stderr
    lab.bring_back("node-2")
    await_that(lambda: lab.amazin("repair").exit_code == 0)
    assert lab.bodies(KEYS) == KEYS


def test_a_node_that_stores_nothing_is_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    with read_only(lab.path("node-2")):
        results = [lab.amazin("repair"), lab.amazin("status")]
    for result in results:
        assert result.exit_code == 1
        assert "node-2" in result.stderr
        assert "read-only: the folder failed: EROFS" in result.stderr
    assert "2 up, 1 read-only" in results[1].stdout
    assert lab.amazin("repair").exit_code == 0


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    lab.take_away("node-2")
    environ = {**lab.environ, "DISCOVERY": "folders", "DATA_DIR": str(tmp_path)}
    result = run("repair", environ=environ)
    assert result.exit_code == 1
    assert result.stderr == (
        "Not there: node-2 (unreachable: the node is not found, or not running)\n"
    )
    assert not lab.path("node-2").exists()


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    lab.lose_copies(2)
    before = lab.held()
    result = lab.amazin("repair", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "looked at 20 objects: 2 copies (10 bytes) to make\n"
    assert lab.held() == before
    assert (
        lab.amazin("repair").stdout
        == "looked at 20 objects: made 2 copies (10 bytes)\n"
    )


def test_json_is_the_report(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.put(*KEYS)
    expected = {**asdict(Report(objects=20, is_whole=True)), "is_well": True}
    del expected["nodes"]
    assert lab.report() == expected


def test_no_faster_than_the_rate(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    lab.lose_copies(4)
    start = time.monotonic()
    assert lab.amazin("repair", "--rate", "50B/s").exit_code == 0
    assert time.monotonic() - start > 3 * 5 / 50


def test_a_spool_folder_that_is_missing_is_no_crash(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    key = ObjectName("store", "large")
    lab.cluster.put(key, HeldBody(bytes(9 * 2**20)), {})
    node = next(node for node, keys in lab.held().items() if keys)
    lab.remove(node, "large")
    environ = {**lab.environ, "SPOOL_DIR": str(tmp_path / "nowhere")}
    result = run("repair", environ=environ)
    assert result.exit_code == 1
    assert "Objects that need another run: 1" in result.stderr
    assert lab.amazin("repair").exit_code == 0


def test_what_is_said_of_a_report() -> None:
    report = Report(objects=1, copies=1, bytes=7_800_000, removals=50)
    assert one_line(report) == "looked at 1 object: made 1 copy (7.8 MB), removed 50"
    assert to_do(report) == "1 copy (7.8 MB) to make, 50 to remove"
    assert to_do(replace(report, copies=0, removals=0)) == "nothing to do"
    assert counted(2, "copy") == "2 copies"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100000", 100_000),
        ("50MB/s", 50_000_000),
        ("50 mb", 50_000_000),
        ("1.5KiB/s", 1536),
        ("2GiB", 2 * 2**30),
        ("1TB", 10**12),
        ("7B/s", 7),
        ("50M", 50 * 2**20),
        ("500k/s", 500 * 1024),
    ],
)
def test_rates(text: str, rate: float) -> None:
    assert as_rate(CONTEXT, OPTION, text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "0", "0MB", "fast", "-1MB", "1PB", "50MiBit", "5iB", "1e6", "nan", "1MB/h"],
)
def test_no_rates(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no rate"):
        as_rate(CONTEXT, OPTION, text)


CONTEXT, OPTION = click.Context(main), click.Option(["--it"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("1.5d", 129_600),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("7", 7),
        ("0.5", 0.5),
        ("15 m", 900),
        ("1d12h", 129_600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert as_seconds(CONTEXT, OPTION, text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "0d", "d", "1s1d", "-1h", "1w", "h", "infd", "1H"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        as_seconds(CONTEXT, OPTION, text)


# repair --every


def log_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def has_logged(path: Path, text: str) -> bool:
    return any(text in line["message"] for line in log_lines(path))


@pytest.mark.parametrize("number_", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_also_in_the_middle(
    tmp_path: Path, number_: signal.Signals
) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    node, keys = lab.lose_copies(9)
    output = tmp_path / "log"
    with output.open("wb") as log:
        arguments = ("repair", "--every", "1h", "--rate", "1B/s")
        with lab.start(*arguments, stdout=log, stderr=log) as process:
            await_that(lambda: set(keys) & set(lab.held()[node]))
            process.send_signal(number_)
            start = time.monotonic()
            assert process.wait(PATIENCE_SECONDS) == 0
            assert time.monotonic() - start < 2
    assert has_logged(output, "repair begins")
    assert not has_logged(output, "looked at")
    assert len(lab.copies()) < 2 * len(KEYS)
    assert lab.bodies(KEYS) == KEYS
    assert lab.amazin("repair").exit_code == 0
    assert lab.copies() == sorted(2 * KEYS)


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    node, keys = lab.lose_copies(9)
    arguments = ("repair", "--rate", "1B/s")
    with lab.start(*arguments, stderr=subprocess.PIPE) as process:
        await_that(lambda: set(keys) & set(lab.held()[node]))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 130
        assert process.stderr
        assert process.stderr.read() == b"Stopped. Begin it again at any time.\n"
    assert lab.amazin("repair").exit_code == 0
    assert lab.copies() == sorted(2 * KEYS)


def test_what_came_meanwhile_is_not_left_for_the_next_hour(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    output = tmp_path / "log"
    with lab.watching(output):
        await_that(lambda: has_logged(output, "looked at 0 objects"))
        lab.put(*KEYS)
        lab.add("node-4")
        lab.membership.refresh()
        await_that(lambda: has_logged(output, "settled the new set of nodes"))
    done = next(line for line in log_lines(output) if "made" in line["message"])
    assert (done["level"], done["logger"]) == ("info", "amazin.repair")
    assert done["copies"] > 0
    assert done["is_well"] is True


def test_a_run_that_fails_is_tried_again_soon(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    lab.take_away("node-2")
    output = tmp_path / "log"
    with lab.watching(output):
        await_that(lambda: has_logged(output, "Not there: node-2 ("))
        lab.bring_back("node-2")
        await_that(lambda: log_lines(output)[-1].get("is_well"))


def test_a_dry_run_is_not_repeated(tmp_path: Path) -> None:
    result = Lab(tmp_path).amazin("repair", "--every", "1h", "--dry-run")
    assert result.exit_code == 2
    assert result.stderr == "--every and --dry-run don't go together\n"


# repair at a terminal


def test_a_terminal_shows_the_plan_and_a_bar(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    lab.lose_copies(3)
    ours, theirs = os.openpty()
    with lab.start("repair", stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = read_terminal(ours)
        assert process.stdout
        printed = process.stdout.read()
    assert process.returncode == 0
    assert printed == b"looked at 20 objects: made 3 copies (15 bytes)\n"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "20 objects; 3 copies (15 bytes) to make" in plain
    assert re.search(r"20/20 3 copies \(15 bytes, [0-9]+ bytes/s\), 0 removed", plain)


# Copies that are damaged or gone


def rot(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"~")


def test_a_copy_that_was_found_damaged_is_replaced(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc", "xyz")
    for path in lab.content_files("abc")[:1]:
        rot(path)
    for _ in range(2):  # by turns with the other node
        assert lab.bodies(["abc"]) == ["abc"]
    lab.read_each("abc")
    located = lab.amazin("locate", "abc")
    assert located.stdout.startswith("store/abc: found: 1 of 2 copies")
    assert located.stdout.count("damaged or gone") == 1
    status = lab.amazin("status", "--count")
    assert status.exit_code == 1
    assert "1 copy damaged or gone" in status.stderr
    result = lab.amazin("repair")
    assert result.exit_code == 0
    assert "made 1 copy" in result.stdout
    assert "mended 1 damaged copy" in result.stdout
    assert lab.amazin("locate", "abc").stdout.startswith("store/abc: found: 2 copies")
    assert lab.amazin("status").exit_code == 0
    assert lab.bodies(["abc", "xyz"]) == ["abc", "xyz"]


def test_a_content_file_that_is_gone_is_found_and_replaced(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc", "xyz")
    lab.content_files("abc")[0].unlink()
    assert "1 of 2 copies" in lab.amazin("locate", "abc").stdout
    assert "made 1 copy" in lab.amazin("repair").stdout
    assert len(lab.content_files("abc")) == 2


def test_copies_are_read_to_tell_whether_they_are_whole(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    rot(lab.content_files("abc")[0])
    assert "found: 2 copies" in lab.amazin("locate", "abc").stdout
    for options in (["--check"], []):
        found = lab.amazin("locate", "abc", *options).stdout
        assert found.startswith("store/abc: found: 1 of 2 copies")
        assert found.count("damaged or gone") == 1


def test_an_object_whose_copies_are_all_lost_is_told(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc", "xyz")
    for path in lab.content_files("abc"):
        path.unlink()
    located = lab.amazin("locate", "abc")
    assert located.exit_code == 1
    assert located.stdout.startswith("store/abc: lost: ")
    result = lab.amazin("repair", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["lost"], report["failures"], report["removals"]) == (1, 1, 0)
    assert (
        "store/abc can't be repaired now: all its copies are damaged" in result.stderr
    )
    lab.put("abc")
    assert lab.amazin("repair").exit_code == 0


def test_a_check_finds_what_nobody_has_read_and_mends_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put(*KEYS)
    for key in KEYS[:3]:
        rot(lab.content_files(key)[0])
    assert "nothing to do" in lab.amazin("repair", "--dry-run").stdout
    result = lab.amazin("repair", "--check", "--json")
    assert result.exit_code == 0
    assert result.stderr.count("is damaged in block 0\n") == 3
    report = json.loads(result.stdout)
    assert report["checked"] == 40
    assert report["checked_bytes"] == 5 * 40
    assert (report["damaged"], report["mended"], report["lost"]) == (3, 3, 0)
    assert lab.bodies(KEYS) == KEYS
    again = lab.amazin("repair", "--check").stdout
    assert re.search(r"read 4[0-9] copies \(.*\), 0 damaged or gone", again)
    for key in KEYS[:3]:
        assert len(lab.content_files(key)) == 2


def test_a_check_only_counts_in_a_dry_run(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc", "xyz")
    rot(lab.content_files("abc")[0])
    report = json.loads(lab.amazin("repair", "--check", "--dry-run", "--json").stdout)
    assert (report["damaged"], report["mended"], report["copies"]) == (1, 0, 1)
    assert lab.bodies(["abc"]) == ["abc"]
    assert len(lab.content_files("abc")) == 1


# locate


def test_an_object_is_found_on_its_nodes(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2, nodes=4)
    lab.put("abc")
    result = lab.amazin("locate", "abc")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "store/abc: found: 2 copies"
    rows = [line.split() for line in lines if re.match(" *[1-4] ", line)]
    holders = [node for node, keys in lab.held().items() if keys]
    assert sorted(row[1] for row in rows if row[-1] == "newest") == holders
    assert [row[2] for row in rows] == ["home", "home", "home", "up"]
    assert "900150983cd24fb0d6963f7d28e17f72" in result.stdout


def test_too_few_copies_are_told(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    lab.lose_copies(1)
    assert lab.amazin("locate", "abc").stdout.startswith("store/abc: found: 1 of 2 cop")


def test_json_says_the_same(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.put("abc")
    found = json.loads(lab.amazin("locate", "abc", "--json").stdout)
    assert (found["verdict"], found["bucket"], found["key"]) == (
        "found",
        "store",
        "abc",
    )
    assert [node["rank"] for node in found["nodes"]] == [1, 2, 3]
    best, *others = found["nodes"]
    assert best["is_home"]
    assert best["state"] == "up"
    time_ = best["copy"].pop("time")
    assert best["copy"] == {
        "size": 3,
        "etag": "900150983cd24fb0d6963f7d28e17f72",
        "is_tombstone": False,
        "is_newest": True,
        "is_damaged": False,
    }
    assert time_.startswith(time.strftime("%Y-"))
    assert time_.endswith("Z")
    assert [node["copy"] for node in others] == [None, None]


def test_a_deleted_object_is_not_found(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    lab.delete("abc")
    result = lab.amazin("locate", "abc")
    assert result.exit_code == 1
    assert result.stdout.startswith("store/abc: deleted: 2")
    assert result.stdout.count("newest, tombstone") == 2


def test_an_unknown_object_is_not_found(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    result = lab.amazin("locate", "abc")
    assert result.exit_code == 1
    assert result.stdout.startswith("store/abc: not found: nothing is stored yet")
    lab.put("other")
    result = lab.amazin("locate", "abc")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        1,
        "store/abc: not found",
    )


def test_with_a_node_away_it_may_not_be_told(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    lab.take_away("node-1")
    result = lab.amazin("locate", "abc")
    assert result.exit_code == 0, result.stdout
    assert "unreachable" in result.stdout
    assert result.stderr.splitlines()[-1] == "node-1: the folder is not there"
    lab.path("node-2").rename(tmp_path / "unmounted too")
    result = lab.amazin("locate", "abc")
    assert result.exit_code == 1
    assert "store/abc: can't be told" in result.stdout


def test_a_lost_disk_is_shown(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    lab.wipe("node-1")
    nodes = json.loads(lab.amazin("locate", "abc", "--json").stdout)["nodes"]
    assert {n["node"]: n["state"] for n in nodes}["node-1"] == "lost"


def test_both_homes_are_shown_while_the_set_of_nodes_changes(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.put(*KEYS)
    lab.add("node-4")
    lab.membership.refresh()
    homes = set()
    for key in KEYS[:12]:
        nodes = json.loads(lab.amazin("locate", key, "--json").stdout)["nodes"]
        homes.update(
            (n["is_home"], n["is_next_home"]) for n in nodes if n["node"] == "node-4"
        )
        assert sum(n["is_home"] for n in nodes) == 1
        assert sum(n["is_next_home"] for n in nodes) == 1
    assert homes == {(False, False), (False, True)}


@pytest.mark.parametrize("key", ["", "x" * 33, "ä"])
def test_only_ids_are_located(tmp_path: Path, key: str) -> None:
    result = Lab(tmp_path).amazin("locate", key)
    assert result.exit_code == 2
    assert result.stderr == "An id is 1 to 32 letters or digits (A-Z, a-z, 0-9)\n"


@pytest.mark.parametrize("key", ["a/b", "../x", "store/x", "photos/"])
def test_only_buckets_and_keys_there_may_be_are_located(
    tmp_path: Path, key: str
) -> None:
    result = Lab(tmp_path).amazin("locate", key)
    assert result.exit_code == 2
    assert "bucket" in result.stderr or "key" in result.stderr


def test_an_object_of_a_bucket_is_located(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    name = stored_name("photos", "2026/a b.jpg")[0]
    lab.put(name.key)
    result = lab.amazin("locate", "photos/2026/a b.jpg")
    assert result.stdout.startswith("photos/2026/a b.jpg: found")
    found = json.loads(lab.amazin("locate", "photos/2026/a b.jpg", "--json").stdout)
    assert found["object"] == "photos/2026/a b.jpg"
    assert (found["bucket"], found["key"]) == name


# forget


def test_whatever_a_key_is_it_is_repaired(tmp_path: Path) -> None:
    names = [
        "a",
        "a/b",
        "a//b",
        "/",
        "../..",
        "a ",
        "a /b",
        "\x00\n",
        "ä/\U0001f600",
        "x" * 1024,
    ]
    keys = [stored_name("photos", name)[0].key for name in names]
    keys.append(marker_name("photos").key)
    lab = Lab(tmp_path, replicas=2)
    lab.put(*keys)
    lab.lose_copies(5)
    assert len(lab.copies()) == 2 * len(keys) - 5
    result = lab.amazin("repair")
    assert result.exit_code == 0, result.stderr
    assert lab.copies() == sorted(2 * keys)
    assert lab.bodies(keys) == keys


def test_a_dead_node_is_forgotten_and_its_copies_made_anew(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2, nodes=4)
    lab.put(*KEYS)
    lab.take_away("node-2")
    result = lab.amazin("forget", "node-2", answers="y\n")
    assert result.exit_code == 0, result.stderr
    assert "each object has 2 copies" in result.stderr
    assert result.stdout == "Forgotten: node-2. `amazin repair` finishes it.\n"
    lab.membership.refresh()
    assert lab.bodies(KEYS) == KEYS
    result = lab.amazin("repair")
    assert result.exit_code == 0, result.stderr
    assert "settled the new set of nodes" in result.stdout
    del lab.specs["node-2"]
    assert lab.copies() == sorted(2 * KEYS)
    assert lab.bodies(KEYS) == KEYS


def test_one_is_asked_first(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.put(*KEYS)
    lab.take_away("node-2")
    result = lab.amazin("forget", "node-2", answers="n\n")
    assert result.exit_code == 1
    assert "that have no copy elsewhere are lost for good" in result.stderr
    assert not (lab.membership.snapshot().roster or pytest.fail()).forgotten


def test_a_node_that_answers_is_not_forgotten_by_mistake(tmp_path: Path) -> None:
    lab = Lab(tmp_path, replicas=2, nodes=4)
    lab.put(*KEYS)
    result = lab.amazin("forget", "node-1", "--yes")
    assert result.exit_code == 2
    assert "Give it the weight 0" in result.stderr
    assert lab.amazin("forget", "node-1", "--yes", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["node-9"], "node-9 can't be forgotten: unknown: node-9\n"),
        (
            ["node-1", "node-2"],
            "node-1, node-2 can't be forgotten: 1 nodes would be left for 2 replicas\n",
        ),
        ([], "Missing argument 'NAME...'.\n"),
    ],
)
def test_who_cannot_be_forgotten(tmp_path: Path, names: list[str], says: str) -> None:
    lab = Lab(tmp_path, replicas=2)
    lab.put("abc")
    result = lab.amazin("forget", "--yes", *names)
    assert (result.exit_code, result.stderr) == (2, says)


# Settings


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (["repair"], {"DISCOVERY": "static"}, "Settings: NODES: DISCOVERY=static"),
        (["repair"], {"REFRESH_SECONDS": "soon"}, "Settings: REFRESH_SECONDS: 'soon'"),
        (["locate", "a"], {"NODES": "a=http://k:hush@h:x", "DISCOVERY": "static"}, ""),
        (["repair"], {"DISCOVERY": "no.module:Class"}, "Settings: DISCOVERY: can't"),
        (
            ["forget", "a"],
            {"DISCOVERY": "folders", "DATA_DIR": "/nowhere"},
            "Settings: DATA_DIR: there is no folder '/nowhere'",
        ),
        (["repair", "--rate", "fast"], {}, "Invalid value for '--rate': 'fast' is no"),
        (["repair", "--every", "x"], {}, "Invalid value for '--every': 'x' is no"),
        (["locate"], {}, "Missing argument 'KEY'"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(
    arguments: list[str], environ: dict[str, str], says: str
) -> None:
    result = run(*arguments, environ=environ)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(says)
    assert result.stderr.count("\n") == 1
    assert "hush" not in result.stderr


def test_where_no_node_is_found_nothing_can_be_done(tmp_path: Path) -> None:
    environ = {"DISCOVERY": "docker", "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    result = run("repair", environ=environ)
    assert result.exit_code == 1
    assert "The Docker daemon does not answer" in result.stderr
    assert run("locate", "abc", environ=environ).exit_code == 1
    result = run("forget", "abc", environ=environ)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "The Docker daemon does not answer"
