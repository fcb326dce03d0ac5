"""The access file while it changes: no half of it counts, and no mistake in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from amazin.access.grants import READ, Place
from amazin.access.rules import Rules, digest_of
from amazin.access.source import LOOK_SECONDS, MOST_BYTES, OLD_SECONDS, AccessFile
from amazin.errors import HTTPError, SettingsError
from amazin.settings.settings import Settings

PHOTOS = Place("objects", "photos", "a")


def text_for(name: str) -> str:
    """Return a file with one principal, whose token is its name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return (
        f"principals:\n  {name}:\n    tokens: [{{sha256: {digest}}}]\n"
        "    grants: [{allow: [read], buckets: [photos]}]\n"
    )


class Watched:
    """An access file, and the clock by which it is looked at."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 0.0
        self.path.write_text(text_for("one"))
        self.since_change = 0.0
        self.file = AccessFile(
            str(path),
            Settings(),
            lambda: self.now,
            lambda: path.stat().st_ctime_ns + int(self.since_change * 10**9),
        )

    def knows(self, name: str) -> bool:
        """Whether a principal may read now; a second later than asked before."""
        self.now += LOOK_SECONDS
        found = self.file.rules().tokens.get(digest_of(name.encode()))
        return found is not None and found.principal.may(READ, PHOTOS)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """A file with the principal `one`."""
    return Watched(tmp_path / "access.yaml")


def test_a_file_counts_when_two_looks_found_the_same(watched: Watched) -> None:
    assert watched.knows("one")
    watched.path.write_text(text_for("two"))
    assert watched.knows("one")
    assert watched.knows("two")
    assert not watched.knows("one")


def test_what_is_written_again_and_again_counts_when_it_is_still(
    watched: Watched,
) -> None:
    for number in range(5):
        watched.path.write_text(text_for(f"p{number}" + "x" * number))
        assert watched.knows("one")
    assert watched.knows("p4xxxx")


def test_a_worker_without_requests_knows_the_change_at_the_next_one(
    watched: Watched,
) -> None:
    watched.path.write_text(text_for("two"))
    watched.since_change = OLD_SECONDS + 0.1
    assert not watched.knows("one")
    assert watched.knows("two")


@pytest.mark.parametrize(
    "text", ["", "principals: [", "principals:\n  a: {grants: [{allow: [fly]}]}\n"]
)
def test_a_wrong_file_changes_nothing(watched: Watched, text: str) -> None:
    watched.path.write_text(text)
    for _ in range(3):
        assert watched.knows("one")
    assert not watched.file.is_good
    watched.path.write_text(text_for("two"))
    assert not watched.knows("two")
    assert watched.knows("two")
    assert watched.file.is_good


def test_a_missing_file_changes_nothing(watched: Watched) -> None:
    watched.path.unlink()
    assert watched.knows("one")
    assert watched.knows("one")
    assert not watched.file.is_good


def test_a_link_may_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "now").mkdir()
    watched = Watched(tmp_path / "now" / "access.yaml")
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "access.yaml").write_text(text_for("two"))
    (tmp_path / "now").rename(tmp_path / "old")
    (tmp_path / "now").symlink_to("next")
    watched.knows("one")
    assert watched.knows("two")


def test_a_wrong_file_at_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ACCESS_FILE: .*: No such file"):
        AccessFile(str(tmp_path / "no.yaml"), Settings())
    (tmp_path / "no.yaml").write_text("principals: 3\n")
    with pytest.raises(SettingsError, match=r"no\.yaml:1: expected names"):
        AccessFile(str(tmp_path / "no.yaml"), Settings())


def test_a_worker_that_replaces_another_waits_for_a_good_file(tmp_path: Path) -> None:
    path, seconds = tmp_path / "access.yaml", iter([0.0, 0.0, 1.0, 2.0, 3.0])
    path.write_text("principals: 3\n")
    file = AccessFile(str(path), Settings(), lambda: next(seconds), is_replacement=True)
    for text in ("principals: 3\n", text_for("one")):
        path.write_text(text)
        with pytest.raises(HTTPError) as caught:
            file.rules()
        assert (caught.value.status, caught.value.code) == (503, "AccessUnknown")
    assert digest_of(b"one") in file.rules().tokens


def test_a_new_secret_counts_as_a_new_file(tmp_path: Path) -> None:
    secret, seconds = tmp_path / "secret", iter([0.0, 0.0, 1.0, 2.0])
    secret.write_text("first-secret-of-ci\n")
    secret.chmod(0o600)
    path = tmp_path / "access.yaml"
    path.write_text("principals: {ci: {keys: [{id: CI1, secret_file: secret}]}}\n")
    file = AccessFile(str(path), Settings(), lambda: next(seconds))
    assert file.rules().keys["CI1"].secret == "first-secret-of-ci"
    secret.write_text("another-secret-of-ci\n")
    file.rules()
    assert file.rules().keys["CI1"].secret == "another-secret-of-ci"


class Overwriting(Settings):
    """Settings that are asked for once the file was read, and then replace it."""

    path: Path
    texts: list[str]

    def __getattribute__(self, name: str) -> object:
        if name == "api_tokens" and self.texts:
            self.path.write_text(self.texts.pop())
        return super().__getattribute__(name)


def test_what_is_written_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path, seconds = tmp_path / "access.yaml", iter([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    path.write_text(text_for("one"))
    settings = Overwriting()
    object.__setattr__(settings, "path", path)
    object.__setattr__(settings, "texts", [text_for("three"), text_for("two")])
    file = AccessFile(str(path), settings, lambda: next(seconds))
    known = [file.rules().tokens for _ in range(5)]
    assert [digest_of(b"one") in tokens for tokens in known] == [True] * 3 + [False] * 2
    assert digest_of(b"three") in known[-1]


def test_a_secret_that_comes_later_is_noticed(watched: Watched) -> None:
    watched.path.write_text(
        f"{text_for('two')}    keys: [{{id: CI1, secret_file: secret}}]\n"
    )
    for _ in range(3):
        assert watched.knows("one")
    secret = watched.path.with_name("secret")
    secret.write_text("a-secret-of-the-test")
    secret.chmod(0o600)
    assert not watched.knows("two")
    assert watched.knows("two")


def test_what_is_no_file_stops_nobody(watched: Watched) -> None:
    def made(make: Callable[[Path], object]) -> None:
        watched.path.unlink()
        make(watched.path)
        for _ in range(3):
            assert watched.knows("one")
        assert not watched.file.is_good

    made(os.mkfifo)
    made(lambda path: path.write_bytes(b"#" * (MOST_BYTES + 1)))
    made(lambda path: path.write_bytes(b"\xff"))
    made(lambda path: path.symlink_to(path))
    made(lambda path: path.symlink_to("/dev/zero"))
    made(Path.mkdir)


@pytest.mark.parametrize("seconds", [LOOK_SECONDS, LOOK_SECONDS + OLD_SECONDS])
def test_others_are_served_while_one_looks_unless_that_is_overdue(
    tmp_path: Path, seconds: float
) -> None:
    path, clock = tmp_path / "access.yaml", [0.0]
    path.write_text(text_for("one"))
    is_overdue = seconds > LOOK_SECONDS
    others = ThreadPoolExecutor(1)
    asked: list[Future[Rules]] = []

    def meanwhile() -> int:
        asked.append(others.submit(file.rules))
        if not is_overdue:
            assert digest_of(b"one") in asked[0].result(10).tokens
        return path.stat().st_ctime_ns + 10**10

    with others:
        file = AccessFile(str(path), Settings(), lambda: clock[0], meanwhile)
        path.write_text(text_for("two"))
        clock[0] = seconds
        assert digest_of(b"two") in file.rules().tokens
        assert (digest_of(b"two") in asked[0].result(10).tokens) == is_overdue
