"""The lists of blob servers: read as `sos` reads them, or refused with the place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from amazin.blobs.sos_conf import BlobServer, dump, read_servers, shown, table
from amazin.errors import SettingsError
from tests.support.old_sos import SOS
from tests.support.waiting import PATIENCE_SECONDS

BOTH = {
    "flat": b"# Comments are fine\nhttp://a:1\n\n; also so\nhttps://b.example/\n",
    "no end of line": b"http://a:1",
    "empty": b"",
    "comments only": b"# http://a:1\n",
    "groups": b"[1]\n-: http://a:1\n-: http://b:1\n\n[2]\n-: http://c:1\n-: http://d:1\n",
    "keys are free": b"[g]\nfoo = http://a:1\nbar: http://b:1\nbaz=http://c:1\n",
    "comments at the end": b"[g] ; hm\n-: http://a:1;x\n-: http://b:1 # y\n",
    "quotes": b"[g]\n-: \"http://a:1\"\n- = 'http://b:1'\n",
    "indented": b"[g]\n    -: http://a:1\n\t-: http://b:1\n",
    "Windows": b"\xef\xbb\xbf[g]\r\n-: http://a:1\r\n-: http://b:1/\r\n",
    "a section without servers": b"[1]\n[2]\n-: http://a:1\n",
    "long group names": b"[a-name-of-a-group]\n-: http://a:1\n",
    "a key again": b"[g]\nx = http://a:1\ny = http://b:1\nx = http://c:1\n",
    "a section again": b"[1]\n-: http://a:1\n-: http://b:1\n[2]\n[1]\n-: http://c:1\n",
    "before the first section": b"x = http://a:1\n[g]\n-: http://b:1\n",
    "of no section": b"[DEFAULT]\n-: http://a:1\n[g]\n-: http://b:1\n",
}
"""Files that `sos` understands as people mean them."""


def servers_of(tmp_path: Path, data: bytes) -> list[BlobServer]:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / ".sos.conf").write_bytes(data)
    return read_servers(None, home, tmp_path / "etc")


@pytest.mark.skipif(not SOS, reason="no sos: set SOS to its path")
@pytest.mark.parametrize("data", BOTH.values(), ids=BOTH)
def test_a_file_is_read_as_the_old_program_reads_it(tmp_path: Path, data: bytes):
    found = servers_of(tmp_path, data)
    printed = subprocess.run(
        [SOS, "api-server", "-dump"],
        env={"HOME": str(tmp_path / "home")},
        capture_output=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    assert dump(found) == printed.stdout.decode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flat", [("default", "http://a:1"), ("default", "https://b.example/")]),
        ("empty", []),
        ("keys are free", [("g", f"http://{x}:1") for x in "abc"]),
        ("comments at the end", [("g", "http://a:1"), ("g", "http://b:1")]),
        ("Windows", [("g", "http://a:1"), ("g", "http://b:1/")]),
        ("a section without servers", [("2", "http://a:1")]),
        ("a key again", [("g", "http://c:1"), ("g", "http://b:1")]),
        ("a section again", [("1", "http://c:1"), ("1", "http://b:1")]),
        ("before the first section", [("g", "http://b:1")]),
    ],
)
def test_both_formats_are_understood(
    tmp_path: Path, name: str, expected: list[tuple[str, str]]
):
    assert servers_of(tmp_path, BOTH[name]) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"[1]\nhttp://n1:1234/\nhttp://m1:1234/\n[2]\nhttp://n2:1234/\n",
            [
                ("1", "http://n1:1234/"),
                ("1", "http://m1:1234/"),
                ("2", "http://n2:1234/"),
            ],
        ),
        (b"http://[::1]:3001\n", [("default", "http://[::1]:3001")]),
        (b"[6]\n-: http://[::1]:3001\n", [("6", "http://[::1]:3001")]),
        (b"  http://a:1  \n", [("default", "http://a:1")]),
        (b"http://a:1 # the first\n", [("default", "http://a:1")]),
        (b"# caf\xe9\nhttp://a:1\n", [("default", "http://a:1")]),
        (b"http://a:1/below/this\n", [("default", "http://a:1/below/this")]),
    ],
)
def test_what_the_old_program_breaks_on_is_understood(
    tmp_path: Path, data: bytes, expected: list[tuple[str, str]]
):
    assert servers_of(tmp_path, data) == expected


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"http://\n", 1),
        (b"http://a:99999\n", 1),
        (b"http://a:0\n", 1),
        (b"http://a:x\n", 1),
        (b"http://a:1 http://b:1\n", 1),
        (b"http://a:1/?x\n", 1),
        (b"http://[::1\n", 1),
        (b"[1]\n\n-:\n", 3),
        (b"[1]\nname = foo\n", 2),
        (b"[1]\n-\n", 2),
        (b"http://a\x1b[2J:1\n", 1),
        ("http://bücher:1\n".encode(), 1),
        (b"http://a:1\nhttp://a..b:1\n", 2),
        (b"http://%s:1\n" % (b"a" * 64), 1),
    ],
)
def test_garbage_is_refused_with_its_place(tmp_path: Path, data: bytes, line: int):
    with pytest.raises(SettingsError) as caught:
        servers_of(tmp_path, data)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/home/.sos.conf:{line}: ")
    assert "http://host:port" in message
    assert message.isprintable()


def test_both_files_are_added_up_and_a_server_is_once_in_its_group(tmp_path: Path):
    home, etc = tmp_path / "home", tmp_path / "etc"
    home.mkdir()
    etc.mkdir()
    (etc / "sos.conf").write_text("[1]\n-: http://a:1\n-: http://b:1\n-: http://A:1/\n")
    (home / ".sos.conf").write_text("[2]\n-: http://a:1\n[1]\n-: http://b:1\n")
    found = read_servers(None, home, etc)
    assert found == [("1", "http://a:1"), ("1", "http://b:1"), ("2", "http://a:1")]


def test_a_list_on_the_command_line_replaces_the_files(tmp_path: Path):
    (tmp_path / ".sos.conf").write_text("garbage")
    found = read_servers("http://b:2, http://a:1,,http://b:2/", tmp_path, tmp_path)
    assert found == [("default", "http://b:2"), ("default", "http://a:1")]


def test_a_wrong_list_on_the_command_line_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"^-blob-server: .*'localhost:3001'"):
        read_servers("http://a:1,localhost:3001", tmp_path)


def test_missing_files_are_no_servers(tmp_path: Path):
    assert read_servers(None, tmp_path, tmp_path) == []
    assert read_servers("", tmp_path, tmp_path) == []


def test_a_file_that_cannot_be_read_is_no_missing_one(tmp_path: Path):
    (tmp_path / ".sos.conf").mkdir()
    with pytest.raises(SettingsError, match=r"\.sos\.conf: can't be read"):
        read_servers(None, tmp_path, tmp_path)


def test_what_is_not_used_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    servers_of(tmp_path, BOTH["before the first section"])
    assert ".sos.conf:1: is in no section" in caplog.text


def test_the_table_of_servers_looks_as_it_always_did():
    servers = [BlobServer("default", "http://a:1"), BlobServer("1", "http://n1:1")]
    assert dump(servers) == (
        "\t     group - server\n\t   default - http://a:1\n\t         1 - http://n1:1\n"
    )
    assert dump([]) == "\t     group - server\n"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:sw@rdfish@a:x",
        "http://user:sw/rdfish@a:1",
        "https://rdfish@a:1 b",
        "user:sw@rdfish@a:1",
        "rdfish@a:1",
        "user:rdfish\n@a:1",
        f"http://user:{'rdfish' * 20}@a:x",
        "http://rdfish@bücher:1",
    ],
)
def test_what_is_no_url_is_told_without_its_secret(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_servers(url, tmp_path)
    for part in ("user", "sw", "rdfish"):
        assert part not in str(caught.value)


def test_a_server_that_is_not_used_is_said_without_its_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers_of(tmp_path, b"[g]\nx = http://user:sword@fish@a:1\nx = http://b:1\n")
    assert "takes the place of http://a:1" in caplog.text
    assert "sword" not in caplog.text


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a:1", "http://a:1"),
        ("HTTP://A:1/b@c/", "HTTP://A:1/b@c/"),
        ("http://t0ken@a:1/b@c", "http://a:1/b@c"),
        ("http://user:sw@rd@[::1]:1", "http://[::1]:1"),
    ],
)
def test_urls_and_their_table_are_shown_without_secrets(
    url: str, expected: str
) -> None:
    assert shown(url) == expected
    server = BlobServer("g", url)
    assert table([server]) == dump([BlobServer("g", expected)])
    assert url in dump([server])  # for the eyes of who has the file


def test_lines_of_a_flat_file_that_are_no_url_are_passed_over(tmp_path: Path) -> None:
    text = "my servers\nhttp://a:1\nftp://b:2\n"
    (tmp_path / ".sos.conf").write_text(text)
    found = read_servers(None, tmp_path, tmp_path / "none")
    assert [server.url for server in found] == ["http://a:1"]
