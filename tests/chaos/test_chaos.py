"""The chaos test's own judgement, on hand-written histories; and its short form."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.clients import Client, Session
from tests.chaos.history import ABSENT, LINGER_SECONDS, History, Version, Write
from tests.chaos.replies import (
    TOKEN_HEADER,
    ByteRange,
    Reply,
    delete_problem,
    read_problem,
    upload_problem,
)
from tests.chaos.tally import Tally, lines
from tests.support.paths import PROJECT
from tests.support.peers import RESET, TAKE_REQUEST, Peer, Step, answer
from tests.support.servers import find_binary

OLD, NEW, OTHER = (Version.of(token, 3000) for token in ("old", "new", "other"))
EMPTY = Version.of("empty", 0)


class Story:
    """A history of one key, told with times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.history = History(lambda: self.now)

    def begin(self, at: float, version: Version) -> Write:
        self.now = at
        return self.history.begin_write("key", version)

    def acknowledge(self, at: float, write: Write) -> None:
        self.now = at
        self.history.acknowledge(write)

    def fail(self, at: float, write: Write) -> None:
        self.now = at
        self.history.fail(write)

    def write(self, begin: float, end: float, version: Version) -> None:
        """An acknowledged write, or delete, that nothing overlaps."""
        self.acknowledge(end, self.begin(begin, version))

    def failed_write(self, begin: float, end: float, version: Version) -> None:
        """One that nothing overlaps, and that was answered with an error."""
        self.fail(end, self.begin(begin, version))

    def allowed(self, at: float) -> set[Version]:
        """What a read at this time, quickly done, may return."""
        self.now = at
        return set(self.history.end_read(self.history.begin_read("key")))


def reply_of(version: Version, **changes: str) -> Reply:
    """The right answer to a GET of the whole object, but for these headers."""
    headers = {
        TOKEN_HEADER: version.token,
        "ETag": f'"{version.etag}"',
        "Content-Length": str(version.size),
    }
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return Reply(200, {**headers, **changed}, version.body())


NOT_FOUND = Reply(404, {}, b"{}")


# Histories


def test_a_key_is_absent_before_its_first_write() -> None:
    assert Story().allowed(1) == {ABSENT}


def test_an_acknowledged_write_is_all_that_may_be_read() -> None:
    story = Story()
    story.write(1, 2, OLD)
    assert story.allowed(3) == {OLD}
    story.write(4, 5, ABSENT)
    assert story.allowed(6) == {ABSENT}


def test_a_write_that_runs_may_be_read_or_not() -> None:
    story = Story()
    story.write(1, 2, OLD)
    story.begin(3, NEW)
    assert story.allowed(4) == {OLD, NEW}
    assert story.allowed(4000) == {OLD, NEW}


def test_a_read_that_began_before_the_acknowledgement_may_return_the_old() -> None:
    story = Story()
    story.write(1, 2, OLD)
    write = story.begin(3, NEW)
    story.now = 4
    read = story.history.begin_read("key")
    story.acknowledge(5, write)
    assert set(story.history.end_read(read)) == {OLD, NEW}
    assert story.allowed(6) == {NEW}


def test_a_read_may_return_what_began_after_it() -> None:
    story = Story()
    story.now = 1
    read = story.history.begin_read("key")
    story.write(2, 3, OLD)
    story.write(4, 5, NEW)
    assert set(story.history.end_read(read)) == {ABSENT, OLD, NEW}


def test_of_overlapping_writes_either_may_win_until_the_next() -> None:
    story = Story()
    first, second = story.begin(1, OLD), story.begin(2, NEW)
    story.acknowledge(3, second)
    story.acknowledge(4, first)
    assert story.allowed(5) == {OLD, NEW}
    story.write(6, 7, OTHER)
    assert story.allowed(8) == {OTHER}


@pytest.mark.parametrize("version", [NEW, ABSENT])
def test_a_failed_write_may_have_happened_or_happen_later(version: Version) -> None:
    story = Story()
    story.write(1, 2, OLD)
    story.failed_write(3, 4, version)
    assert story.allowed(5) == {OLD, version}
    story.write(6, 7, OTHER)
    assert story.allowed(8) == {version, OTHER}


def test_a_failed_write_does_not_come_back_for_ever() -> None:
    story = Story()
    story.failed_write(1, 2, OLD)
    story.write(LINGER_SECONDS + 3, LINGER_SECONDS + 4, NEW)
    assert story.allowed(LINGER_SECONDS + 5) == {NEW}


def test_what_is_superseded_is_forgotten() -> None:
    story = Story()
    for number in range(1000):
        story.write(2 * number, 2 * number + 1, Version(f"token{number}", 0, ""))
    assert story.history.size() <= 2


def definition(writes: Sequence[Write], begin: float) -> set[str]:
    """The tokens that a read begun then may return: the promise, word by word."""
    done = [write for write in writes if write.is_acknowledged and write.end < begin]
    return {
        write.version.token
        for write in writes
        if not any(other.begin > write.end for other in done)
    }


@pytest.mark.parametrize("seed", range(30))
def test_forgetting_changes_no_judgement(seed: int) -> None:
    rng, story = random.Random(seed), Story()
    writes = [Write("key", ABSENT, -math.inf, -math.inf, "acknowledged")]
    running: list[Write] = []
    reads = []
    for number in range(200):
        story.now = number
        step = rng.choice(("write", "end", "end", "fail", "read", "judge"))
        if step == "write":
            running.append(story.begin(number, Version(str(number), 0, "")))
            writes.append(running[-1])
        elif step in ("end", "fail") and running:
            write = running.pop(rng.randrange(len(running)))
            end = story.acknowledge if step == "end" else story.fail
            end(number, write)
        elif step == "read":
            reads.append(story.history.begin_read("key"))
        elif step == "judge" and reads:
            read = reads.pop(rng.randrange(len(reads)))
            allowed = {version.token for version in story.history.end_read(read)}
            assert allowed == definition(writes, read.begin)


def test_a_wrong_answer_is_told_with_the_last_writes() -> None:
    story = Story()
    story.write(1, 2, OLD)
    story.failed_write(3, 4.5, ABSENT)
    story.now = 5
    told = list(story.history.tell(story.history.begin_read("key")))
    assert told == [
        "   -4.000 to    -3.000  acknowledged  old (3000 bytes)",
        "   -2.000 to    -0.500  failed        absent",
    ]


# Answers to reads


def test_right_answers_are_accepted() -> None:
    assert read_problem([OLD], reply_of(OLD)) == ""
    assert read_problem([OLD, NEW], reply_of(OLD)) == ""
    assert read_problem([EMPTY], reply_of(EMPTY)) == ""
    assert read_problem([EMPTY], reply_of(EMPTY), byte_range=ByteRange(None, 9)) == ""
    assert read_problem([OLD, ABSENT], NOT_FOUND) == ""


def test_a_lost_write_is_caught() -> None:
    story = Story()
    story.write(1, 2, OLD)
    assert "can't be absent" in read_problem(list(story.allowed(3)), NOT_FOUND)


def test_a_stale_read_is_caught() -> None:
    story = Story()
    story.write(1, 2, OLD)
    story.write(3, 4, NEW)
    problem = read_problem(list(story.allowed(5)), reply_of(OLD))
    assert problem == "old: superseded, or never written"


def test_a_resurrected_delete_is_caught() -> None:
    story = Story()
    story.write(1, 2, OLD)
    story.write(3, 4, ABSENT)
    assert "superseded" in read_problem(list(story.allowed(5)), reply_of(OLD))


def test_what_nobody_wrote_is_caught() -> None:
    assert "never written" in read_problem([OLD, ABSENT], reply_of(OTHER))
    anonymous = Reply(200, {"Content-Length": "0"}, b"")
    assert "no token" in read_problem([EMPTY, ABSENT], anonymous)


@pytest.mark.parametrize(
    "body",
    [
        OLD.body()[:1024] + NEW.body()[1024:],
        OLD.body()[1024:2048] + OLD.body()[:1024] + OLD.body()[2048:],
        OLD.body()[:-1] + b"?",
        OLD.body()[:-1],
        OLD.body() + b"?",
        NEW.body(),
        b"",
    ],
    ids=["two versions", "swapped", "a byte", "short", "long", "another's", "empty"],
)
def test_a_torn_body_is_caught(body: bytes) -> None:
    reply = Reply(200, reply_of(OLD).headers, body)
    assert "a torn body of old" in read_problem([OLD, NEW], reply)


@pytest.mark.parametrize("changes", [{"ETag": '""'}, {"Content_Length": "2999"}])
def test_wrong_headers_are_caught(changes: dict[str, str]) -> None:
    assert "instead of" in read_problem([OLD], reply_of(OLD, **changes))


def test_a_head_has_the_headers_and_no_body() -> None:
    reply = Reply(200, reply_of(OLD).headers, b"")
    assert read_problem([OLD], reply, is_head=True) == ""
    assert "torn" in read_problem([OLD], reply_of(OLD), is_head=True)
    shorter = Reply(200, reply_of(OLD, Content_Length="0").headers, b"")
    assert "Content-Length" in read_problem([OLD], shorter, is_head=True)


def partial_reply(version: Version, first: int, end: int) -> Reply:
    """The right answer to a GET of these bytes."""
    told = f"bytes {first}-{end - 1}/{version.size}"
    whole = reply_of(version, Content_Length=str(end - first), Content_Range=told)
    return Reply(206, whole.headers, version.body()[first:end])


@pytest.mark.parametrize(
    ("byte_range", "first", "end"),
    [
        (ByteRange(0, 0), 0, 1),
        (ByteRange(1000, 1999), 1000, 2000),
        (ByteRange(2000, None), 2000, 3000),
        (ByteRange(2999, 10_000), 2999, 3000),
        (ByteRange(None, 1), 2999, 3000),
        (ByteRange(None, 10_000), 0, 3000),
    ],
    ids=str,
)
def test_a_range_is_compared_in_its_place(
    byte_range: ByteRange, first: int, end: int
) -> None:
    right = partial_reply(OLD, first, end)
    assert read_problem([OLD], right, byte_range=byte_range) == ""
    body = bytes(255 - byte for byte in right.body)
    wrong = Reply(206, right.headers, body)
    assert "torn" in read_problem([OLD], wrong, byte_range=byte_range)
    whole = read_problem([OLD], reply_of(OLD), byte_range=byte_range)
    assert whole.startswith("200 instead of 206")


def test_only_what_a_range_misses_is_unsatisfiable() -> None:
    beyond, within = ByteRange(3000, None), ByteRange(2999, None)
    reply = Reply(416, {"Content-Range": "bytes */3000"}, b"{}")
    assert read_problem([OLD], reply, byte_range=beyond) == ""
    assert "416" in read_problem([OLD], reply, byte_range=within)
    assert "416" in read_problem([EMPTY, ABSENT], reply, byte_range=beyond)
    assert "416" in read_problem([OLD], reply)


# Errors, and answers to writes


def test_an_error_says_nothing_but_has_its_form() -> None:
    assert read_problem([OLD], Reply(503, {"Retry-After": "2"}, b"{}")) == ""
    assert "Retry-After" in read_problem([OLD], Reply(503, {}, b"{}"))
    assert read_problem([OLD], Reply(500, {}, b"{}")) == "status 500"
    assert delete_problem(Reply(404, {}, b"{}")) == "status 404"


def test_an_acknowledgement_describes_what_was_sent() -> None:
    info = {"key": "key", "size": OLD.size, "etag": OLD.etag}
    assert upload_problem(OLD, "key", Reply(201, {}, json.dumps(info).encode())) == ""
    info["etag"] = NEW.etag
    reply = Reply(201, {}, json.dumps(info).encode())
    assert "something else" in upload_problem(OLD, "key", reply)
    assert delete_problem(Reply(204, {}, b"")) == ""


# Clients


def test_a_body_that_breaks_is_an_error() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    scripts: list[Sequence[Step]] = [(TAKE_REQUEST, head), (TAKE_REQUEST, head, RESET)]
    for is_slow in (False, True):
        with Peer(*scripts) as peer:
            session = Session(is_slow=is_slow)
            for _ in scripts:
                assert session.exchange(peer.port, "GET", "key") is None
            session.close()


def test_a_client_judges_and_counts_what_it_is_told() -> None:
    story, tally = Story(), Tally()
    story.write(1, 2, OLD)
    missing = answer("404 Not Found")
    unable = answer("503 Service Unavailable", headers=["Retry-After: 2"])
    with Peer((TAKE_REQUEST, missing, TAKE_REQUEST, unable, TAKE_REQUEST)) as peer:
        ports = [peer.port]
        client = Client("c", ["key"], ports, story.history, tally, random.Random(1))
        for method in ("GET", "DELETE", "HEAD"):
            story.now += 1
            client.operate(method, "key")
    figures = tally.figures()
    assert figures["operations"] == 3
    assert figures["wrong_answers"] == 1
    assert figures["messages"][0].startswith(
        "GET key: 404, but the key can't be absent"
    )
    assert figures["methods"]["DELETE"]["outcomes"] == {"503": 1}
    assert figures["methods"]["HEAD"]["outcomes"] == {"broken": 1}
    assert story.allowed(9) == {OLD, ABSENT}


def test_the_first_line_of_the_report_sums_up() -> None:
    tally = Tally()
    for outcome in ("200", "200", "200", "503"):
        tally.count("GET", outcome, 0.01)
    tally.note_event("node kill")
    tally.note_lost("key", "404")
    assert lines(tally.figures())[0] == (
        "operations 4  kills 1  wrong answers 0  lost objects 1  answered 503 25.00 %"
    )


# The short form


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("replicas", "operations", "kills"), [(2, 3000, 12), (3, 2000, 8)]
)
def test_nothing_is_lost_or_wrong_while_nodes_die(
    tmp_path: Path, replicas: int, operations: int, kills: int
) -> None:
    figures = tmp_path / "figures.json"
    numbers = {"operations": operations, "kills": kills, "replicas": replicas}
    limits = {"outage": 1.0, "seconds": 120, "json": figures}
    options = [f"--{name}={value}" for name, value in {**numbers, **limits}.items()]
    environ = {**os.environ, "MINIO": find_binary("MINIO", "minio")}
    environ.pop("PYTHONDEVMODE", None)
    command = [sys.executable, "-m", "tests.chaos", *options]
    subprocess.run(command, cwd=PROJECT, env=environ, check=True, timeout=240)
    found = json.loads(figures.read_text())
    assert found["operations"] >= operations
    assert found["kills"] >= kills
    assert found["wrong_answers"] == found["lost_objects"] == 0
