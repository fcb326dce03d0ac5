"""The access file while it changes: no half of it counts, and no mistake in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from amazin.access.grants import READ, Place
from amazin.access.rules import digest_of
from amazin.access.source import LOOK_SECONDS, OLD_SECONDS, AccessFile
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
    """An access file, and the clocks by which it is looked at."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 0.0
        self.wall = 0.0
        """Before all changes: none is old."""
        self.path.write_text(text_for("one"))
        self.file = AccessFile(
            str(path), Settings(), lambda: self.now, wall_clock=lambda: self.wall
        )

    def wait(self, seconds: float) -> None:
        """Have the wall clock show that long after the last change."""
        found = self.path.stat()
        self.wall = max(found.st_mtime_ns, found.st_ctime_ns) / 1e9 + seconds

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


def test_an_old_change_counts_for_the_first_request(watched: Watched) -> None:
    watched.path.write_text(text_for("two"))
    watched.wait(3600)
    assert not watched.knows("one")
    assert watched.knows("two")


@pytest.mark.parametrize("seconds", [-3600, -0.1, 0, OLD_SECONDS - 0.1])
def test_a_change_just_now_or_in_the_future_waits_for_another_look(
    watched: Watched, seconds: float
) -> None:
    watched.path.write_text(text_for("two"))
    watched.wait(seconds)
    assert watched.knows("one")
    assert watched.knows("two")


def test_a_file_with_an_old_date_that_was_put_there_just_now_is_not_old(
    watched: Watched,
) -> None:
    watched.path.write_text(text_for("two"))
    os.utime(watched.path, (0, 0))  # as `cp -p` does, when it has written
    watched.wait(0)
    assert watched.knows("one")
    assert watched.knows("two")


def test_a_link_to_an_old_file_counts_at_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(text_for("one"))
    (tmp_path / "two").write_text(text_for("two"))
    link = tmp_path / "access.yaml"
    link.symlink_to("one")
    watched = Watched(link)
    watched.wait(60)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    assert watched.knows("two")


def test_a_mistake_of_long_ago_is_told_by_the_first_request(watched: Watched) -> None:
    watched.path.write_text("principals: [")
    watched.wait(60)
    assert watched.knows("one")
    assert not watched.file.is_good


def test_what_is_written_again_and_again_counts_when_it_is_still(
    watched: Watched,
) -> None:
    for number in range(5):
        watched.path.write_text(text_for(f"p{number}" + "x" * number))
        assert watched.knows("one")
    assert watched.knows("p4xxxx")


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
    file = AccessFile(
        str(path),
        Settings(),
        lambda: next(seconds),
        wall_clock=float,
        is_replacement=True,
    )
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
    file = AccessFile(str(path), Settings(), lambda: next(seconds), wall_clock=float)
    assert file.rules().keys["CI1"].secret == "first-secret-of-ci"
    secret.write_text("another-secret-of-ci\n")
    file.rules()
    assert file.rules().keys["CI1"].secret == "another-secret-of-ci"


def test_a_new_secret_of_long_ago_counts_at_once(tmp_path: Path) -> None:
    secret, now = tmp_path / "secret", iter([0.0, 0.0, 1.0])
    secret.write_text("first-secret-of-ci\n")
    secret.chmod(0o600)
    path = tmp_path / "access.yaml"
    path.write_text("principals: {ci: {keys: [{id: CI1, secret_file: secret}]}}\n")
    later = secret.stat().st_ctime + 3600
    file = AccessFile(
        str(path), Settings(), lambda: next(now), wall_clock=lambda: later
    )
    secret.write_text("another-secret-of-ci\n")
    assert file.rules()
    assert file.rules().keys["CI1"].secret == "another-secret-of-ci"


def test_a_file_waits_for_a_secret_that_comes_later(watched: Watched) -> None:
    watched.path.write_text(
        f"{text_for('two')}    keys: [{{id: CI1, secret_file: secret}}]\n"
    )
    watched.wait(60)
    assert watched.knows("one")
    (watched.path.parent / "secret").write_text("first-secret-of-ci\n")
    watched.wait(120)
    assert watched.knows("two")
