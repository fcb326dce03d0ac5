"""What `amazin put`, `get`, `ls`, `rm` and `cp` promise, before a scripted gateway."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import pytest

from amazin.cli.common import MistakeError
from amazin.cli.places import Kind, way_of
from amazin.cli.trees import place_of
from amazin.client.files import SteadyFile
from amazin.client.partial import MAX_NAME_BYTES, partial_name
from amazin.errors import ClientError
from tests.support.in_process import described, files, invoke, run
from tests.support.ports import free_port
from tests.support.scripted_gateway import (
    Asked,
    Reply,
    ScriptedGateway,
    content,
    etag_of,
    info,
    json_reply,
    refusal,
    reply,
    store,
)
from tests.support.waiting import PATIENCE_SECONDS

BODY = bytes(range(256)) * 40
OTHER = BODY[::-1]
NO_BUCKET = refusal(404, "NoSuchBucket", "There is no such bucket")
NOTHING_THERE = reply(404)
NOTHING = Reply(b"HTTP/1.1 204 No Content\r\n\r\n")

Gateway = Callable[..., ScriptedGateway]

pytestmark = pytest.mark.usefixtures("place")


def partial(target: str, body: bytes = BODY) -> str:
    return partial_name(target, etag_of(body))


# put


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["a.txt"], "/objects/default/a.txt"),
        (["a.txt", "photos/"], "/objects/photos/a.txt"),
        (["a.txt", "photos/2026/"], "/objects/photos/2026/a.txt"),
        (["a.txt", "photos/b"], "/objects/photos/b"),
        (["a.txt", "cat1"], "/object/cat1"),
        (["./a.txt", "photos//b%"], "/objects/photos//b%25"),
    ],
)
def test_a_file_goes_where_the_key_says(
    arguments: list[str], path: str, place: Path, gateway: Gateway
) -> None:
    (place / "a.txt").write_bytes(BODY)
    is_id = path.startswith("/object/")
    server = gateway(*[NOTHING_THERE] * is_id, store)
    run(server, "put", *arguments)
    asked = "HEAD /buckets/cat1"
    assert server.lines == [*[asked] * is_id, f"PUT {path}"]
    assert server.asked[-1].body == BODY
    assert server.asked[-1].headers["content-length"] == str(len(BODY))


def test_put_sends_type_headers_and_token(place: Path, gateway: Gateway) -> None:
    (place / "a").write_bytes(BODY)
    server = gateway(store)
    words = ["put", "a", "photos/a", "--type", "image/x", "--header", "X-A:b"]
    found = run(server, *words, "--header", "X-C: d:e", "--token", "t0ken", "--json")
    assert json.loads(found.stdout)["etag"] == etag_of(BODY)
    headers = server.asked[0].headers
    names = ("content-type", "x-a", "x-c", "authorization")
    expected = ["image/x", "b", "d:e", "Bearer t0ken"]
    assert [headers[name] for name in names] == expected


def test_put_tells_of_headers_that_only_some_gateways_keep(
    place: Path, gateway: Gateway
) -> None:
    (place / "a").write_bytes(BODY)
    server = gateway(store)
    given = (
        "X-Owner: me",
        "x-meta-a: b",
        "X-Amz-Meta-A: b",
        "X-Amz-Checksum-Sha1: x",
        "Color: red",
    )
    words = [word for header in given for word in ("--header", header)]
    found = run(server, "put", "a", "photos/a", "--quiet", *words)
    assert found.stderr.splitlines() == [
        "X-Owner is kept only if METADATA_HEADERS there names it",
        "Color is not kept: X-Meta-Color would be",
    ]


def test_standard_input_is_sent_chunked(gateway: Gateway) -> None:
    server = gateway(store)
    run(server, "put", "-", "photos/a", data=BODY)
    assert server.asked[0].body == BODY


@pytest.mark.parametrize(
    "arguments",
    [
        ["put", "-"],
        ["put", "-", "photos/"],
        ["put", "a"],
        ["put", "."],
        ["put", "here", "/a"],
        ["put", "here", "photos/list"],
        ["put", "here", "photos/a", "--header", "X-A"],
        ["put", "here", "photos/a", "--header", "Host: x", "--make-bucket"],
        ["put", "here", "photos/a", "--header", "X-A: \x01", "--make-bucket"],
        ["put", "here", "photos/a", "--type", "a\nb", "--make-bucket"],
        ["put", "here", "a\udcffb/c"],
        ["get", ""],
        ["get", "photos/a/"],
        ["get", "photos/a", "nowhere/"],
        ["get", "photos/.."],
        ["get", "photos/list"],
        ["ls", "/a"],
        ["rm"],
        ["rm", "/"],
        ["rm", "-r", "/", "--yes"],
        ["cp", "a", "b", "--jobs", "0"],
        ["cp", ".", "photos/a"],
        ["cp", "-r", "here", "photos/a"],
        ["cp", "-r", "photos/a", "./here"],
        ["cp", "-r", "-", "photos/a"],
        ["cp", "-", "photos/", "--make-bucket"],
        ["cp", "./here", "photos/list", "--make-bucket"],
        ["cp", "photos/a", "./nowhere/"],
        ["cp", "./here", "./there"],
        ["cp", "amazin:a/b", "amazin:a/b"],
        ["cp", "-r", "amazin:a/b", "amazin:a/b/c"],
        ["cp", "-r", "amazin:a/b/c", "amazin:a/b"],
        ["cp", "-r", "here", "here", "photos"],
        ["cp", "here", "amazin:a/b", "photos/"],
        ["cp", "here", "photos/", "--include", "*"],
        ["cp", "photos/a", "./there", "--header", "X-Meta-A: b"],
        ["cp", "photos/a", "./there", "--make-bucket"],
        ["cp", "here", "photos/", "--limit-rate", "x"],
        ["cp", "-r", ".", "photos", "--exclude", "/"],
        ["cp", "-r", ".", "photos", "--exclude", "*", "--include", "*.jpg"],
        ["mv", "-", "photos/a"],
        ["mv", "photos/a", "/dev/null"],
        ["mv", "photos/a", "-"],
        ["mv", "amazin:photos/a", "amazin:photos/"],
        ["put", "here", "there"],
        ["put", "here", "there", "photos/a"],
        ["put", "here", "./here", "photos/"],
        ["put", "here", "nowhere", "photos/"],
        ["put", "here", "albums", "--make-bucket"],
        ["put"],
        ["mb", "photos/a"],
        ["mb", "PHOTOS"],
        ["mb", "store"],
        ["mb", "/"],
        ["rb", "photos/a"],
        ["rm", "photos/a", "--include", "a"],
        ["stat", "photos/"],
        ["du", "/a"],
        ["presign", "cat1"],
        ["presign", "photos/a", "--expires", "8d"],
        ["presign", "photos/a", "--expires", "0.5s"],
        ["ls", "--token", "a b"],
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_sent(
    arguments: list[str], place: Path, gateway: Gateway
) -> None:
    (place / "here").write_bytes(b"x")
    (place / "there").write_bytes(b"x")
    server = gateway()
    found = run(server, *arguments, code=2)
    assert found.stderr.strip()
    assert server.asked == []


def test_a_missing_bucket_is_told_with_what_helps(
    place: Path, gateway: Gateway
) -> None:
    (place / "a").write_bytes(BODY)
    assert "--make-bucket" in run(gateway(NO_BUCKET), "put", "a", "b/", code=1).stderr
    made = json_reply({"bucket": "photos"}, 201)
    server = gateway(made, store)
    run(server, "put", "a", "photos/", "--make-bucket")
    assert server.lines == ["POST /buckets/photos", "PUT /objects/photos/a"]


def test_another_md5_is_an_error(place: Path, gateway: Gateway) -> None:
    (place / "a").write_bytes(BODY)
    server = gateway(json_reply(info("a", OTHER), 201))
    assert "other bytes" in run(server, "put", "a", "photos/a", code=1).stderr


@pytest.mark.parametrize("change", ["shorter", "longer", "same length"])
def test_a_file_that_changes_while_it_is_read_is_never_whole(
    change: str, place: Path
) -> None:
    path = place / "a"
    path.write_bytes(BODY)
    file = SteadyFile(path, lambda position, size: None)
    assert file.size == len(BODY)
    assert file.read(100) == BODY[:100]
    size = {"shorter": 200, "longer": 20_000, "same length": len(BODY)}[change]
    path.write_bytes(bytes(size))
    os.utime(path, ns=(1, 1))
    got = list[bytes]()
    with closing(file), pytest.raises(ClientError, match="changed"):
        got.extend(iter(lambda: file.read(5000), b""))
    assert sum(map(len, got)) < len(BODY) - 100


def test_a_file_that_says_it_is_empty_and_is_not_is_sent(gateway: Gateway) -> None:
    server = gateway(store)
    run(server, "put", "/proc/version", "photos/a")
    assert server.asked[0].body == Path("/proc/version").read_bytes() != b""


def test_an_empty_file_is_an_object(place: Path, gateway: Gateway) -> None:
    (place / "a").touch()
    server = gateway(store, content(b""))
    run(server, "put", "a", "photos/a")
    assert server.asked[0].headers["content-length"] == "0"
    run(server, "get", "photos/a", "b")
    assert files(place) == {"a": b"", "b": b""}


def test_a_fifo_is_sent_chunked(place: Path, gateway: Gateway) -> None:
    os.mkfifo(place / "pipe")
    writer = threading.Thread(target=(place / "pipe").write_bytes, args=(BODY,))
    writer.start()
    server = gateway(store)
    run(server, "put", "pipe", "photos/a")
    writer.join(PATIENCE_SECONDS)
    assert server.asked[0].body == BODY


# get


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["photos/2026/a.jpg"], "a.jpg"),
        (["photos/2026/a.jpg", "b"], "b"),
        (["photos/2026/a.jpg", "folder"], "folder/a.jpg"),
        (["cat1"], "cat1"),
    ],
)
def test_an_object_becomes_a_file(
    arguments: list[str], name: str, place: Path, gateway: Gateway
) -> None:
    (place / "folder").mkdir()
    run(gateway(content(BODY)), "get", *arguments)
    assert files(place) == {name: BODY}


def test_standard_output_gets_nothing_but_the_object(gateway: Gateway) -> None:
    found = run(gateway(content(BODY, cut=77), content(BODY, 77)), "get", "b/a", "-")
    assert found.stdout_bytes == BODY


def test_an_older_file_is_replaced_only_by_a_whole_one(
    place: Path, gateway: Gateway
) -> None:
    (place / "a").write_bytes(b"old")
    (place / "a").chmod(0o640)
    (place / "link").symlink_to("a")
    broken = [content(BODY, cut=100), *[Reply(b"", "reset")] * 5]
    run(gateway(*broken), "get", "photos/a", code=1)
    assert files(place)["a"] == b"old"
    run(gateway(content(BODY), content(BODY, 100)), "get", "photos/a", "link")
    assert files(place) == {"a": BODY, "link": BODY}
    assert stat.S_IMODE((place / "a").stat().st_mode) == 0o640
    assert (place / "link").is_symlink()


def test_a_new_file_has_the_mode_that_the_umask_leaves(
    place: Path, gateway: Gateway
) -> None:
    run(gateway(content(BODY)), "get", "photos/a")
    (place / "usual").touch()
    usual, mode = ((place / name).stat().st_mode for name in ("usual", "a"))
    assert mode == usual


@pytest.mark.parametrize("has_target", [True, False])
def test_what_has_come_of_an_object_is_nobody_elses(
    has_target: bool, place: Path, gateway: Gateway
) -> None:
    if has_target:
        (place / "a").write_bytes(b"secret")
        (place / "a").chmod(0o600)
    broken = [content(BODY, cut=100), *[Reply(b"", "reset")] * 5]
    run(gateway(*broken), "get", "photos/a", code=1)
    assert stat.S_IMODE((place / partial("a")).stat().st_mode) == 0o600
    run(gateway(content(BODY), content(BODY, 100)), "get", "photos/a")
    (place / "usual").touch(0o600 if has_target else 0o666)
    usual, mode = ((place / name).stat().st_mode for name in ("usual", "a"))
    assert mode == usual


@pytest.mark.parametrize("cut", [1, 5000, len(BODY) - 1])
def test_a_later_run_goes_on_where_one_was_stopped(
    cut: int, place: Path, gateway: Gateway
) -> None:
    (place / partial("a")).write_bytes(BODY[:cut])
    server = gateway(content(BODY), content(BODY, cut))
    run(server, "get", "photos/a")
    assert files(place) == {"a": BODY}
    assert server.asked[1].headers["range"] == f"bytes={cut}-"
    assert server.asked[1].headers["if-match"] == f'"{etag_of(BODY)}"'


def test_what_was_whole_already_is_not_fetched_again(
    place: Path, gateway: Gateway
) -> None:
    (place / partial("a")).write_bytes(BODY)
    run(gateway(content(BODY)), "get", "photos/a")
    assert files(place) == {"a": BODY}


@pytest.mark.parametrize("left", [OTHER[:100], OTHER, OTHER + BODY])
def test_a_damaged_beginning_is_thrown_away(
    left: bytes, place: Path, gateway: Gateway
) -> None:
    (place / partial("a")).write_bytes(left)
    rest = [content(BODY, 100)] if len(left) == 100 else []
    again = [content(BODY)] if len(left) <= len(BODY) else []
    run(gateway(content(BODY), *rest, *again), "get", "photos/a")
    assert files(place) == {"a": BODY}


def test_what_came_of_an_older_version_is_never_used(
    place: Path, gateway: Gateway
) -> None:
    (place / partial("a", OTHER)).write_bytes(OTHER[:100])
    others = {partial(name, OTHER): OTHER[:100] for name in ("b", "a.b", "aa", ".a")}
    for name, data in others.items():
        (place / name).write_bytes(data)
    run(gateway(content(BODY)), "get", "photos/a")
    assert files(place) == {"a": BODY, **others}


@pytest.mark.parametrize(
    "answer", [refusal(412, "PreconditionFailed"), content(OTHER, 100), content(OTHER)]
)
def test_an_object_that_changes_midway_is_begun_anew(
    answer: Reply, place: Path, gateway: Gateway
) -> None:
    run(gateway(content(BODY, cut=100), answer, content(OTHER)), "get", "photos/a")
    assert files(place) == {"a": OTHER}


def test_an_object_that_is_removed_midway_is_an_error(
    place: Path, gateway: Gateway
) -> None:
    gone = refusal(404, "NoSuchObject", "There is no such object")
    found = run(gateway(content(BODY, cut=100), gone, gone), "get", "b/a", code=1)
    assert "no such object" in found.stderr
    assert files(place) == {}


def test_to_standard_output_two_versions_are_never_mixed(gateway: Gateway) -> None:
    server = gateway(content(BODY, cut=100), refusal(412, "PreconditionFailed"))
    found = run(server, "get", "photos/a", "-", code=1)
    assert found.stdout_bytes == BODY[:100]
    assert "changed" in found.stderr


def test_wrong_bytes_never_become_a_file(place: Path, gateway: Gateway) -> None:
    wrong = content(BODY, sent=OTHER)
    assert "MD5" in run(gateway(wrong, wrong), "get", "photos/a", code=1).stderr
    assert files(place) == {}


def link(place: Path, planted: Path) -> None:
    planted.hardlink_to(place / "precious")


def point_to(place: Path, planted: Path) -> None:
    planted.symlink_to(place / "precious")


def point_nowhere(place: Path, planted: Path) -> None:
    planted.symlink_to(place / "nothing")


def give_away(place: Path, planted: Path) -> None:
    if os.geteuid():
        pytest.skip("giving a file away needs root")
    planted.write_bytes(BODY[:100])
    os.chown(planted, 12345, -1)


def make_pipe(place: Path, planted: Path) -> None:
    os.mkfifo(planted)


PLANTS = (link, point_to, point_nowhere, give_away, make_pipe)


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_partial_file_is_not_written_through(
    plant: Callable[[Path, Path], None], place: Path, gateway: Gateway
) -> None:
    (place / "precious").write_bytes(BODY[:100])
    planted = place / partial("a")
    plant(place, planted)
    os.link(planted, place / "before", follow_symlinks=False)
    run(gateway(content(BODY)), "get", "photos/a")
    assert (place / "a").read_bytes() == BODY
    assert (place / "precious").read_bytes() == BODY[:100]
    assert (place / "a").stat().st_uid == os.geteuid()
    before, after = (place / "before").lstat(), (place / "a").lstat()
    assert not os.path.samestat(before, after)
    assert not (place / "nothing").exists()


def test_two_downloads_to_one_place_do_not_meet(place: Path, gateway: Gateway) -> None:
    def other_run(asked: Asked) -> Reply:
        found = run(gateway(content(BODY)), "get", "photos/a", code=1)
        assert "Another download" in found.stderr
        return content(BODY, 100)

    run(gateway(content(BODY, cut=100), other_run), "get", "photos/a")
    assert files(place) == {"a": BODY}


def test_a_device_is_written_and_not_replaced(gateway: Gateway) -> None:
    run(gateway(content(BODY)), "get", "photos/a", "/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_disk_is_one_sentence(gateway: Gateway) -> None:
    found = run(gateway(content(BODY)), "get", "photos/a", "/dev/full", code=1)
    assert "No space left" in found.stderr


def test_a_name_that_is_too_long_is_one_sentence(gateway: Gateway) -> None:
    found = run(gateway(), "get", "photos/a", "n" * 256, code=1)
    assert "name too long" in found.stderr


@pytest.mark.parametrize("name", ["nowhere/a", "file/a"])
def test_a_place_that_can_not_be_is_one_sentence(
    name: str, place: Path, gateway: Gateway
) -> None:
    (place / "file").write_bytes(b"")
    run(gateway(content(BODY)), "get", "photos/a", name, code=1)
    assert files(place) == {"file": b""}


def test_long_names_have_partial_files_too(place: Path, gateway: Gateway) -> None:
    name = "ä" * 127
    broken = [content(BODY, cut=100), *[Reply(b"", "reset")] * 5]
    run(gateway(*broken), "get", f"photos/{name}", code=1)
    assert len(name.encode()) > MAX_NAME_BYTES
    run(gateway(content(BODY), content(BODY, 100)), "get", f"photos/{name}")
    assert files(place) == {name: BODY}


# ls


def prefix(key: str) -> dict[str, object]:
    return info(key) | {"etag": "", "last_modified": "0001-01-01T00:00:00Z"}


def test_ls_shows_size_time_and_key(gateway: Gateway) -> None:
    server = gateway(json_reply([info("2026/a", BODY), prefix("2026/b/")]))
    found = run(server, "ls", "photos/2026/")
    lines = found.stdout.splitlines()
    assert [line.split() for line in lines] == [
        [f"{len(BODY)}", "2026-11-21T12:00:00Z", "2026/a"],
        ["2026/b/"],
    ]
    assert lines[0].index("2026/a") == lines[1].index("2026/b")
    assert "recursive=false&prefix=2026%2F" in server.lines[0]


def test_ls_without_a_bucket_shows_the_buckets(gateway: Gateway) -> None:
    names = ["letters", "photos"]
    assert run(gateway(json_reply(names)), "ls").stdout.split() == names
    assert json.loads(run(gateway(json_reply(names)), "ls", "--json").stdout) == names


@pytest.mark.parametrize("key", ["\x1b[31mred", "a\nb", "\u202egpj", "\x9b2J", "a\rb"])
def test_no_key_can_play_tricks_on_a_terminal(key: str, gateway: Gateway) -> None:
    found = run(gateway(json_reply([info(key)])), "ls", "photos")
    assert found.stdout.removesuffix("\n").isprintable()
    found = run(gateway(json_reply([info(key)])), "ls", "--json", "photos")
    assert [entry["key"] for entry in json.loads(found.stdout)] == [key]


def test_a_list_that_breaks_is_an_error_and_no_whole_json(gateway: Gateway) -> None:
    page = json_reply([info(f"{number:04}") for number in range(1000)])
    broken = [reply(200, b'[{"key"', end="close", cut=3)] * 6
    found = run(gateway(page, *broken), "ls", "--json", "photos", code=1)
    assert found.stderr.strip()
    with pytest.raises(json.JSONDecodeError):
        json.loads(found.stdout)


def test_an_empty_list_is_json(gateway: Gateway) -> None:
    assert json.loads(run(gateway(json_reply([])), "ls", "--json", "b").stdout) == []


# rm


def test_several_are_removed_and_one_that_fails_stops_none(gateway: Gateway) -> None:
    oh = refusal(500, "InternalError", "Oh")
    server = gateway(
        described(BODY), NOTHING, described(BODY), oh, described(BODY), NOTHING
    )
    found = run(server, "rm", "photos/a", "amazin:photos/b", "cat1", code=1)
    assert found.stderr.startswith("photos/b: Oh")
    assert server.lines[-1] == "DELETE /object/cat1"
    server = gateway(described(BODY), NO_BUCKET, described(BODY), NOTHING)
    run(server, "rm", "nix/a", "photos/b", code=1)


def test_what_is_not_there_is_no_error(gateway: Gateway) -> None:
    server = gateway(NOTHING_THERE, json_reply([]), NOTHING)
    run(server, "rm", "photos/2026")
    assert server.lines[1].endswith("limit=1&recursive=true&prefix=2026%2F")
    assert server.lines[2] == "DELETE /objects/photos/2026"


def test_a_damaged_object_can_be_removed(gateway: Gateway) -> None:
    run(gateway(reply(502, headers=["X-Amazin-Lost: true"]), NOTHING), "rm", "photos/a")


@pytest.mark.parametrize(
    ("key", "there", "says"),
    [
        ("b/2026", json_reply([info("2026/a")]), "amazin rm -r b/2026"),
        ("b/2026/", json_reply([info("2026/a")]), "amazin rm -r b/2026/"),
        ("photos", reply(200), "amazin rb"),
    ],
)
def test_what_has_others_below_it_is_told_and_nothing_is_removed(
    key: str, there: Reply, says: str, gateway: Gateway
) -> None:
    server = gateway(NOTHING_THERE, there)
    assert says in run(server, "rm", key, code=1).stderr
    assert not any(line.startswith("DELETE") for line in server.lines)


def test_below_a_prefix_everything_is_removed_after_asking(gateway: Gateway) -> None:
    listed = json_reply([info("2026/a"), info("2026/b")])
    errors = [{"key": "2026/b", "code": "NodeUnreachable", "error": "Too few"}]
    deleted = json_reply({"deleted": ["2026/a"], "errors": errors})
    server = gateway(listed, deleted)
    found = run(server, "rm", "-r", "photos/2026", code=1, data=b"y\n")
    assert "Removed 1 object" in found.stdout
    assert "photos/2026/b: Too few" in found.stderr
    assert "prefix=2026%2F" in server.lines[0]
    assert json.loads(server.asked[1].body) == {"keys": ["2026/a", "2026/b"]}


def test_an_object_is_not_taken_for_an_empty_prefix(gateway: Gateway) -> None:
    server = gateway(json_reply([]), reply(200, headers=['ETag: "x"']))
    found = run(server, "rm", "-r", "photos/a.jpg", "--yes", code=1)
    assert "it is an object: rm without -r" in found.stderr


@pytest.mark.parametrize("option", ["--yes", "-y", "--force", "-f"])
def test_what_is_told_not_to_ask_does_not_ask(option: str, gateway: Gateway) -> None:
    removed = json_reply({"deleted": ["a"], "errors": []})
    server = gateway(json_reply([info("a")]), removed)
    assert "?" not in run(server, "rm", "-r", "photos", option).output


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b""])
def test_nothing_is_removed_without_a_yes(answer: bytes, gateway: Gateway) -> None:
    server = gateway()
    run(server, "rm", "-r", "photos/2026", code=1, data=answer)
    assert server.asked == []


# cp


UP, DOWN, WITHIN = Kind.UPLOAD, Kind.DOWNLOAD, Kind.WITHIN


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("./x", "photos/a", (UP, "./x", "photos/a")),
        ("here", "photos/a", (UP, "here", "photos/a")),
        ("here", "amazin:here", (UP, "here", "here")),
        ("-", "photos/a", (UP, "-", "photos/a")),
        ("/x", "y", (UP, "/x", "y")),
        ("photos/a", "./x", (DOWN, "photos/a", "./x")),
        ("photos/a", "here", (DOWN, "photos/a", "here")),
        ("photos/a", "x", (DOWN, "photos/a", "x")),
        ("photos/a", "folder/x", (DOWN, "photos/a", "folder/x")),
        ("photos/a", "folder/", (DOWN, "photos/a", "folder/")),
        ("amazin:here", "here", (DOWN, "here", "here")),
        ("amazin:a/b", "c/d", (DOWN, "a/b", "c/d")),
        ("photos/a", "-", (DOWN, "photos/a", "-")),
        ("here", ".", (DOWN, "here", ".")),
        ("photos/a", "archive/x", (WITHIN, "photos/a", "archive/x")),
        ("photos/a", "archive/", (WITHIN, "photos/a", "archive/")),
        ("amazin:here", "amazin:a/b", (WITHIN, "here", "a/b")),
    ],
)
def test_which_side_is_local_is_clear(
    source: str, target: str, expected: tuple[Kind, str, str], place: Path
) -> None:
    (place / "here").write_bytes(b"")
    (place / "folder").mkdir()
    assert way_of(source, target) == expected


def test_a_new_folder_of_a_tree_may_end_in_a_slash(place: Path) -> None:
    assert way_of("photos", "new/", is_tree=True).kind is DOWN


@pytest.mark.parametrize(
    ("source", "target"), [("here", "there"), (".", "/x"), ("-", "./x")]
)
def test_what_is_not_clear_is_refused(source: str, target: str, place: Path) -> None:
    for name in ("here", "there"):
        (place / name).write_bytes(b"")
    with pytest.raises(MistakeError):
        way_of(source, target)


def test_cp_of_one_is_put_and_get(place: Path, gateway: Gateway) -> None:
    (place / "a").write_bytes(BODY)
    server = gateway(store, content(BODY))
    run(server, "cp", "a", "photos/2026/")
    run(server, "cp", "photos/2026/a", "./b")
    assert server.lines == ["PUT /objects/photos/2026/a", "GET /objects/photos/2026/a"]
    assert files(place) == {"a": BODY, "b": BODY}


def tree(folder: Path) -> None:
    """Make a folder with all that there may be."""
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(BODY)
    (folder / "sub" / "b").write_bytes(b"b")
    (folder / "inside").symlink_to("sub/b")
    (folder / "loop").symlink_to(".")
    (folder / "outside").symlink_to("/etc/passwd")
    (folder / "dangling").symlink_to("nowhere")
    (folder / partial("z")).write_bytes(b"z")
    os.mkfifo(folder / "pipe")


def test_a_folder_is_stored_but_what_leads_out_of_it(
    place: Path, gateway: Gateway
) -> None:
    tree(place / "t")
    server = gateway(json_reply([]), store, store, store)
    found = run(server, "cp", "-r", "./t", "photos/2026", "--jobs", "1")
    assert [(asked.line, asked.body) for asked in server.asked[1:]] == [
        ("PUT /objects/photos/2026/a", BODY),
        ("PUT /objects/photos/2026/inside", b"b"),
        ("PUT /objects/photos/2026/sub/b", b"b"),
    ]
    left_out = sorted(line.partition(":")[0] for line in found.stderr.splitlines())
    assert left_out == [partial("z"), "dangling", "loop", "outside", "pipe"]


def test_what_is_there_already_is_not_sent_again(place: Path, gateway: Gateway) -> None:
    for name, body in (("a", BODY), ("b", b"b"), ("c", b"new")):
        (place / "t").mkdir(exist_ok=True)
        (place / "t" / name).write_bytes(body)

    def there(body: bytes) -> Reply:
        fields = [f'ETag: "{etag_of(body)}"', f"Content-Length: {len(body)}"]
        return reply(200, headers=fields)

    missing = reply(404)
    server = gateway(
        json_reply([info("a", BODY)]), there(BODY), missing, store, there(b"old"), store
    )
    found = run(server, "cp", "-r", "t", "photos", "--jobs", "1")
    sent = [line for line in server.lines if line.startswith("PUT")]
    assert sent == ["PUT /objects/photos/b", "PUT /objects/photos/c"]
    assert "Stored 2 objects, 1 was there" in found.stdout


def test_one_file_that_fails_stops_no_other(place: Path, gateway: Gateway) -> None:
    (place / "t").mkdir()
    for name in ("a", "b", "c"):
        (place / "t" / name).write_bytes(b"x")
    server = gateway(json_reply([]), store, refusal(422, "InvalidKey", "Oh"), store)
    found = run(server, "cp", "-r", "t", "photos", "--jobs", "1", code=1)
    assert found.stderr.splitlines() == ["b: Oh (request r17)"]
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "answer", [refusal(401, "NoCredentials"), refusal(403, "UnknownToken"), NO_BUCKET]
)
def test_what_all_would_meet_ends_it_at_once(
    answer: Reply, place: Path, gateway: Gateway
) -> None:
    (place / "t").mkdir()
    for name in "abcdef":
        (place / "t" / name).write_bytes(b"x")
    server = gateway(json_reply([]), answer)
    run(server, "cp", "-r", "t", "photos", "--jobs", "1", code=1)
    assert len(server.asked) == 2


def listed(*keys: str) -> Reply:
    """Return a list of objects that have their keys for bytes."""
    return json_reply([info(key, key.encode()) for key in sorted(keys)])


def by_key(asked: Asked) -> Reply:
    """Answer with an object that has its key for bytes."""
    return content(unquote(asked.target.split("/", 3)[3]).encode())


def test_a_prefix_becomes_a_folder(place: Path, gateway: Gateway) -> None:
    keys = ["p/a", "p/sub/b", "p/sub/ c%20", "p/ä\x01", "p/a\\x2db", "p/\\..\\x"]
    bodies = {"p/folder/": b"", **{key: key.encode() for key in keys}}
    page = json_reply([info(key, body) for key, body in sorted(bodies.items())])
    server = gateway(page, *[by_key] * 6)
    run(server, "cp", "-r", "photos/p", "t")
    assert files(place / "t") == {key[2:]: key.encode() for key in keys}
    # again: nothing is fetched but the list
    found = run(gateway(page), "cp", "-r", "photos/p", "t")
    assert "Fetched 0 objects, 6 were there" in found.stdout


HOSTILE = [
    "../a",
    "..",
    "a/../../b",
    "a/..",
    "/etc/x",
    "//x",
    "a//b",
    "./a",
    "a/./b",
    "dir/",
    "nul\0l",
    f"a/{partial_name('a', 'x')}",
]


@pytest.mark.parametrize("key", [*HOSTILE, "no locale has \ud800"])
def test_a_key_that_leads_elsewhere_is_no_path(key: str, place: Path) -> None:
    with pytest.raises(ClientError, match="Refused"):
        place_of(place, key)


def test_keys_that_lead_elsewhere_are_refused_one_by_one(
    place: Path, gateway: Gateway
) -> None:
    server = gateway(listed(*HOSTILE, "good"), by_key)
    found = run(server, "cp", "-r", "photos", "./t", code=1)
    assert files(place) == {"t/good": b"good"}
    assert len(found.stderr.splitlines()) == len(HOSTILE)


def test_a_link_does_not_lead_out_of_the_folder(place: Path, gateway: Gateway) -> None:
    (place / "out").mkdir()
    (place / "t").mkdir()
    (place / "t" / "link").symlink_to(place / "out")
    (place / "t" / "file").symlink_to(place / "out" / "file")
    server = gateway(listed("link/a", "link/b/c", "file"), by_key)
    found = run(server, "cp", "-r", "photos", "./t", code=1)
    assert found.stderr.count("leads out") == 2
    assert files(place / "out") == {}
    assert (place / "t" / "file").read_bytes() == b"file"


def test_a_file_and_a_folder_of_one_name_are_refused(
    place: Path, gateway: Gateway
) -> None:
    server = gateway(listed("a", "a/b"), by_key)
    found = run(server, "cp", "-r", "photos", "./t", "--jobs", "1", code=1)
    assert found.stderr.startswith("photos/a/b: Refused: a file is where its folder")
    (place / "u" / "a").mkdir(parents=True)
    found = run(gateway(listed("a")), "cp", "-r", "photos", "./u", code=1)
    assert found.stderr.startswith("photos/a: Refused: a folder is where")


def test_a_tree_goes_on_with_what_came_and_leaves_nothing_behind(
    place: Path, gateway: Gateway
) -> None:
    (place / "t").mkdir()
    (place / "t" / partial("a")).write_bytes(BODY[:100])
    (place / "t" / partial("b", OTHER)).write_bytes(OTHER[:100])
    page = json_reply([info("a", BODY), info("b", BODY)])
    server = gateway(page, content(BODY), content(BODY, 100), content(BODY))
    run(server, "cp", "-r", "photos", "./t", "--jobs", "1")
    assert files(place / "t") == {"a": BODY, "b": BODY}


def test_a_name_that_is_not_utf_8_is_told(place: Path, gateway: Gateway) -> None:
    (place / "t").mkdir()
    (place / "t" / os.fsdecode(b"a\xff")).write_bytes(b"x")
    (place / "t" / "b").write_bytes(b"x")
    server = gateway(json_reply([]), store)
    found = run(server, "cp", "-r", "t", "photos", "--jobs", "1", code=1)
    assert "UTF-8" in found.stderr
    assert found.stderr.removesuffix("\n").isprintable()
    assert server.lines[1] == "PUT /objects/photos/b"


def test_nothing_below_a_prefix_is_an_error(place: Path, gateway: Gateway) -> None:
    found = run(gateway(json_reply([])), "cp", "-r", "photos/nix", "./t", code=1)
    assert "nothing below photos/nix/" in found.stderr
    assert list(place.iterdir()) == []


# All


def test_quiet_is_quiet(place: Path, gateway: Gateway) -> None:
    (place / "a").write_bytes(BODY)
    server = gateway(store, content(BODY), described(BODY), NOTHING)
    for words in ("put a photos/a -q", "get photos/a -q", "rm photos/a -q"):
        found = run(server, *words.split())
        assert found.output == ""


@pytest.mark.parametrize(
    "words", ["put a b/c", "get b/c", "ls", "rm b/c", "cp a b/c", "cp -r b ./t"]
)
def test_where_no_gateway_is_one_sentence_says_so(words: str, place: Path) -> None:
    (place / "a").write_bytes(BODY)
    url = f"http://127.0.0.1:{free_port()}"
    result = invoke(*words.split(), "--url", url)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "is it running" in result.stderr


@pytest.mark.parametrize("url", ["http://例え..x:1", f"http://{'a' * 64}:1"])
def test_a_url_whose_host_can_not_be_one_is_a_mistake(url: str) -> None:
    result = invoke("ls", "--url", url)
    assert result.exit_code == 2
    assert "is no URL of a gateway" in result.stderr


def test_the_environment_says_where_and_who(
    monkeypatch: pytest.MonkeyPatch, gateway: Gateway
) -> None:
    server = gateway(json_reply([]))
    monkeypatch.setenv("AMAZIN_URL", server.url)
    monkeypatch.setenv("AMAZIN_TOKEN", "t0ken")
    assert invoke("ls").exit_code == 0
    assert server.asked[0].headers["authorization"] == "Bearer t0ken"
