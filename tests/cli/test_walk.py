"""A walk through the commands for objects, against a real gateway on folders."""

from __future__ import annotations

import json
import os
import shlex
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_process import CommandProcess
from tests.support.in_process import files, invoke
from tests.support.ports import free_port

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The URL of a gateway that runs."""
    port = free_port()
    settings = {"SIGNING_SECRET": SECRET, "WORKERS": "1"}
    arguments = ("serve", "--host", "127.0.0.1", "--port", str(port))
    with CommandProcess(tmp_path, port, *arguments, settings=settings):
        yield f"http://127.0.0.1:{port}"


def test_a_day_with_objects(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def amazin(line: str, code: int = 0) -> str:
        """Run a command; return what it says."""
        done = invoke(*shlex.split(line), "--url", url)
        assert done.exit_code == code, (line, done.output)
        return done.output

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("a.jpg", "b.jpg", "c.txt", "s/d.jpg"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(os.urandom(1000))
    was = files(here)
    amazin("mb photos")
    amazin("put a.jpg b.jpg photos/2026/ --header 'X-Meta-Owner: ann'")
    amazin("cp -r . photos/all --include '*.jpg'")
    assert "below photos/2026/" in amazin("rm photos/2026", 1)
    assert "there is a bucket photos" in amazin("put c.txt photos", 2)
    assert amazin("ls -r photos").count(".jpg\n") == 5
    amazin("mv -r amazin:photos/all amazin:archive/x --make-bucket")
    amazin("cp amazin:photos/2026/a.jpg amazin:archive/")
    assert "X-Meta-Owner   ann" in amazin("stat archive/a.jpg")
    sums = [json.loads(line) for line in amazin("du --json").splitlines()]
    assert [(found["place"], found["objects"]) for found in sums] == [
        ("archive/", 4),
        ("photos/", 2),
    ]
    amazin("mv c.txt photos/")
    amazin("mv photos/c.txt ./c2")
    amazin("cp -r amazin:archive/x ./back")
    assert files(here / "back") == {name: was[name] for name in was if "jpg" in name}
    assert (here / "c2").read_bytes() == was["c.txt"]
    assert not (here / "c.txt").exists()
    with urllib.request.urlopen(amazin("presign archive/a.jpg").strip()) as got:
        assert got.read() == was["a.jpg"]
    assert "not empty" in amazin("rb archive", 1)
    amazin("rb --force archive --yes")
    amazin("rm -r photos --yes")
    amazin("rb photos")
    assert amazin("ls") == ""
