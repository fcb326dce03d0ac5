"""What several sources, copies within the store, moves and selections promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amazin.cli.patterns import pattern_of
from tests.support.command_process import MAIN, command_environ
from tests.support.in_process import described, files, invoke, run
from tests.support.scripted_gateway import (
    Asked,
    Reply,
    ScriptedGateway,
    content,
    info,
    json_reply,
    refusal,
    reply,
    store,
)
from tests.support.waiting import PATIENCE_SECONDS

BODY = b"the bytes of an object"
OTHER = b"the bytes of another one"
NO_BUCKET = refusal(404, "NoSuchBucket", "There is no such bucket; POST to /buckets/")
MISSING = reply(404)
DONE = Reply(b"HTTP/1.1 204 No Content\r\n\r\n")
MADE = json_reply({"bucket": "photos"}, 201)

Gateway = Callable[..., ScriptedGateway]

pytestmark = pytest.mark.usefixtures("place")


def copied(asked: Asked) -> Reply:
    """Answer a copy as a gateway does."""
    assert asked.body == b""
    return json_reply(info(asked.target, BODY), 201)


def writes(server: ScriptedGateway) -> list[str]:
    """Return the requests that change something."""
    return [line for line in server.lines if not line.startswith(("GET", "HEAD"))]


def make(place: Path, *names: str) -> None:
    """Make files that hold their names."""
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(name.encode())


# Several sources


@pytest.mark.parametrize("words", [["put"], ["cp"], ["cp", "--jobs", "2"]])
def test_several_files_keep_their_names(
    words: list[str], place: Path, gateway: Gateway
) -> None:
    make(place, "a", "b", "sub/c")
    server = gateway(store, store, store)
    run(server, *words, "a", "b", "sub/c", "photos/2026/")
    lines = [f"PUT /objects/photos/2026/{name}" for name in "abc"]
    assert server.lines == lines


def test_one_of_several_that_fails_stops_no_other(
    place: Path, gateway: Gateway
) -> None:
    make(place, "a", "b", "c")
    server = gateway(store, refusal(500, "InternalError", "Oh"), store)
    found = run(server, "put", "a", "b", "c", "photos/", "--json", code=1)
    assert len([json.loads(line) for line in found.stdout.splitlines()]) == 2
    assert found.stderr.startswith("photos/b: Oh")


@pytest.mark.parametrize("command", ["put", "cp", "mv"])
def test_what_would_overwrite_what_was_just_stored_is_refused_before(
    command: str, place: Path, gateway: Gateway
) -> None:
    make(place, "a/x", "b/x")
    server = gateway()
    found = run(server, command, "a/x", "b/x", "photos/", code=2)
    assert found.stderr == "a/x and b/x would both be photos/x\n"
    assert server.asked == []


@pytest.mark.parametrize("last", ["photos/b", "./photos/b", "photos"])
def test_what_a_shell_put_last_is_not_taken_for_the_key(
    last: str, place: Path, gateway: Gateway
) -> None:
    make(place, "photos/a", "photos/b")
    server = gateway(store)
    found = run(server, "put", "photos/a", last, code=2)
    assert "is here, too" in found.stderr
    run(server, "put", "photos/a", "amazin:photos/b")
    assert server.lines == ["PUT /objects/photos/b"]


@pytest.mark.parametrize("command", ["cp", "mv"])
def test_two_names_of_one_file_are_refused_before(
    command: str, place: Path, gateway: Gateway
) -> None:
    make(place, "t/b")
    (place / "t/a").symlink_to("b")
    server = gateway()
    found = run(server, command, "photos/a", "photos/b", "./t", code=2)
    assert found.stderr == "photos/a and photos/b would both be t/b\n"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["mv", "-r", "", "photos"], "SOURCE..."),
        (["cp", "-r", "photos", ""], "TARGET"),
        (["put", "a", ""], "FILE... [KEY]"),
        (["get", "photos/a", ""], "[FILE]"),
        (["rm", "photos/a", ""], "KEY..."),
        (["du", ""], "[BUCKET[/PREFIX]]..."),
        (["ls", ""], "[BUCKET[/PREFIX]]"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(
    words: list[str], name: str, place: Path, gateway: Gateway
) -> None:
    make(place, "a", "photos/b")
    server = gateway()
    assert run(server, *words, code=2).stderr == f"{name} is empty\n"
    assert server.asked == []


def test_several_objects_are_fetched_into_a_folder(
    place: Path, gateway: Gateway
) -> None:
    (place / "t").mkdir()
    server = gateway(content(BODY), content(OTHER))
    run(server, "cp", "photos/a", "photos/b", "t")
    assert files(place) == {"t/a": BODY, "t/b": OTHER}


# Ids and buckets


@pytest.mark.parametrize("command", ["put", "cp", "mv"])
def test_an_id_that_is_a_bucket_is_told(
    command: str, place: Path, gateway: Gateway
) -> None:
    make(place, "a.txt")
    server = gateway(reply(200))
    found = run(server, command, "a.txt", "photos", code=2)
    assert "there is a bucket photos: write photos/a.txt" in found.stderr
    assert server.lines == ["HEAD /buckets/photos"]


def test_an_id_with_the_mark_is_an_id(place: Path, gateway: Gateway) -> None:
    make(place, "a.txt")
    server = gateway(store)
    run(server, "put", "a.txt", "amazin:photos")
    assert server.lines == ["PUT /object/photos"]


def test_an_id_that_no_bucket_can_have_is_sent_at_once(
    place: Path, gateway: Gateway
) -> None:
    make(place, "a.txt")
    server = gateway(store)
    run(server, "put", "a.txt", "Cat1")
    assert server.lines == ["PUT /object/Cat1"]


@pytest.mark.parametrize("status", [401, 405, 500, 503])
def test_what_is_not_known_of_a_bucket_keeps_no_upload_back(
    status: int, place: Path, gateway: Gateway
) -> None:
    make(place, "a.txt")
    server = gateway(reply(status), store)
    run(server, "put", "a.txt", "photos")
    assert server.lines == ["HEAD /buckets/photos", "PUT /object/photos"]


def test_an_id_has_no_bucket_to_make(place: Path, gateway: Gateway) -> None:
    make(place, "f")
    server = gateway()
    found = run(server, "put", "f", "albums", "--make-bucket", code=2)
    assert "albums is an id" in found.stderr
    assert server.asked == []


@pytest.mark.parametrize(
    ("words", "answers", "says"),
    [
        (["get", "photos"], [reply(200)], "there is a bucket photos"),
        (["get", "photos/b"], [json_reply([info("b/c")])], "objects below photos/b/"),
        (["get", "photos/b"], [json_reply([])], "There is no such object"),
        (["get", "photos/b"], [reply(500)], "There is no such object"),
    ],
)
def test_what_is_there_instead_is_told(
    words: list[str], answers: list[Reply], says: str, gateway: Gateway
) -> None:
    missing = refusal(404, "NoSuchObject", "There is no such object")
    found = run(gateway(missing, *answers), *words, code=1)
    assert says in found.stderr
    assert found.stderr.endswith("(request r17)\n")


@pytest.mark.parametrize(
    "words", ["ls photos", "get photos/a", "put a photos/", "rb photos", "du photos"]
)
def test_errors_speak_of_the_command_and_not_of_http(
    words: str, place: Path, gateway: Gateway
) -> None:
    make(place, "a")
    found = run(gateway(NO_BUCKET), *words.split(), code=1)
    assert "There is no such bucket" in found.stderr
    assert "POST" not in found.stderr


# Within the store


def test_a_copy_within_the_store_brings_no_bytes_here(gateway: Gateway) -> None:
    server = gateway(described(BODY), copied)
    run(server, "cp", "amazin:photos/ä %/a", "amazin:archive/")
    assert server.lines[1] == "PUT /objects/archive/a"
    assert server.asked[1].headers["x-copy-source"] == "/photos/%C3%A4%20%25/a"


def test_an_id_is_copied_through_this_machine(gateway: Gateway) -> None:
    kept = ["Content-Type: image/x", "X-Meta-Owner: ann", "X-Request-Id: r"]
    server = gateway(described(BODY, *kept), content(BODY), store)
    run(server, "cp", "amazin:cat1", "amazin:photos/cat.jpg")
    assert server.asked[2].body == BODY
    headers = server.asked[2].headers
    assert (headers["content-type"], headers["x-meta-owner"]) == ("image/x", "ann")
    assert "x-request-id" not in headers


def test_a_damaged_copy_of_an_id_is_an_error(gateway: Gateway) -> None:
    server = gateway(described(BODY), content(BODY, sent=BODY[::-1]), store)
    found = run(server, "cp", "amazin:cat1", "amazin:photos/a", code=1)
    assert "MD5" in found.stderr


def test_a_prefix_is_copied_but_for_what_is_there(gateway: Gateway) -> None:
    page = json_reply([info("p/a", BODY), info("p/b", BODY), info("p/c", BODY)])
    server = gateway(
        json_reply([info("q/a", BODY)]),
        page,
        described(BODY),
        *(MISSING, described(BODY), copied),
        *(described(OTHER), described(BODY), copied),
    )
    words = ["amazin:photos/p", "amazin:archive/q", "--jobs", "1"]
    found = run(server, "cp", "-r", *words)
    assert found.stdout == "Copied 2 objects, 1 was there already\n"
    assert writes(server) == ["PUT /objects/archive/q/b", "PUT /objects/archive/q/c"]


def test_a_missing_bucket_of_the_target_is_named(gateway: Gateway) -> None:
    server = gateway(described(BODY), NO_BUCKET)
    found = run(server, "cp", "amazin:photos/a", "amazin:archive/", code=1)
    assert "--make-bucket makes archive; ./archive/a would be" in found.stderr
    found = run(gateway(NO_BUCKET), "cp", "-r", "photos/p", "new/folder", code=1)
    assert "./new/folder would be a place here" in found.stderr


# Moves


def test_a_file_is_moved_when_it_is_stored(place: Path, gateway: Gateway) -> None:
    make(place, "a", "b")
    server = gateway(store, refusal(500, "InternalError", "Oh"))
    run(server, "mv", "a", "b", "photos/", code=1)
    assert files(place) == {"b": b"b"}


def test_what_was_copied_and_can_not_be_removed_is_told(
    place: Path, gateway: Gateway
) -> None:
    make(place, "a")

    def replace(asked: Asked) -> Reply:
        folder = place / "gone"
        place.joinpath("t").rename(folder)
        return store(asked)

    make(place, "t/b")
    found = run(gateway(replace), "mv", "t/b", "photos/", code=1)
    assert found.stderr == "t/b: No such file or directory\n"
    oh = refusal(503, "NodeUnreachable", "Too few")
    server = gateway(content(BODY), described(BODY), *[oh] * 6)
    found = run(server, "mv", "photos/a", "./c", code=1)
    assert "Too few; it was copied, but not removed" in found.stderr


@pytest.mark.parametrize(
    "words", ["du b", "stat b/a", "presign b/a", "rm b/a --dry-run", "mb photos"]
)
def test_a_full_disk_below_standard_output_is_no_error_of_the_store(
    words: str, gateway: Gateway, place: Path
) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.target.startswith("/presigned"):
            return json_reply({"url": "http://x"})
        if asked.method == "HEAD":
            return described(BODY)
        return MADE if asked.method == "POST" else json_reply([info("a")])

    server = gateway(*[answer] * (2 if words == "mb photos" else 1))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-c", MAIN, *words.split(), "--url", server.url],
            env=command_environ(place, {}),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        b"standard output: No space left on device\n",
    )


def test_a_file_that_changes_meanwhile_stays(place: Path, gateway: Gateway) -> None:
    make(place, "a")

    def change(asked: Asked) -> Reply:
        (place / "a").write_bytes(b"new")
        return store(asked)

    found = run(gateway(change), "mv", "a", "photos/", code=1)
    assert found.stderr == "a: It was changed meanwhile, so it stays\n"
    assert files(place) == {"a": b"new"}


def test_an_object_is_moved_here_when_all_has_come(
    place: Path, gateway: Gateway
) -> None:
    server = gateway(content(BODY), described(BODY), DONE)
    run(server, "mv", "photos/a", "./a")
    assert server.lines[2] == "DELETE /objects/photos/a"
    assert files(place) == {"a": BODY}


@pytest.mark.parametrize("words", [["./b"], ["amazin:photos/b"]])
def test_an_object_that_is_replaced_meanwhile_stays(
    words: list[str], gateway: Gateway
) -> None:
    is_copy = words[0].startswith("amazin:")
    came = [described(BODY), copied] if is_copy else [content(BODY)]
    server = gateway(*came, described(OTHER))
    found = run(server, "mv", "amazin:photos/a", *words, code=1)
    assert "replaced meanwhile" in found.stderr
    assert not any(line.startswith("DELETE") for line in server.lines)


def test_a_tree_is_moved_with_what_was_there_already(
    place: Path, gateway: Gateway
) -> None:
    make(place, "t/a", "t/s/b")
    listed = json_reply([info("a", b"t/a")])
    server = gateway(listed, described(b"t/a"), MISSING, store)
    found = run(server, "mv", "-r", "t", "photos", "--jobs", "1")
    assert found.stdout == "Moved 1 object, 1 was there already\n"
    assert files(place) == {}
    assert (place / "t" / "s").is_dir()


def test_a_prefix_is_moved_here(place: Path, gateway: Gateway) -> None:
    page = json_reply([info("p/a", BODY), info("p/b", OTHER)])
    make(place, "t/a")
    (place / "t" / "a").write_bytes(BODY)
    moved = [content(OTHER), described(OTHER), DONE]
    server = gateway(page, described(BODY), DONE, *moved)
    run(server, "mv", "-r", "photos/p", "./t", "--jobs", "1")
    assert files(place) == {"t/a": BODY, "t/b": OTHER}
    assert writes(server) == [
        "DELETE /objects/photos/p/a",
        "DELETE /objects/photos/p/b",
    ]


def test_no_link_makes_one_file_of_two_objects(place: Path, gateway: Gateway) -> None:
    page = json_reply([info("p/link/a", BODY), info("p/sub/a", OTHER)])
    (place / "t/sub").mkdir(parents=True)
    (place / "t/link").symlink_to("sub")
    server = gateway(page, content(OTHER), described(OTHER), DONE)
    found = run(server, "mv", "-r", "photos/p", "./t", "--jobs", "1", code=1)
    assert found.stderr.startswith("photos/p/link/a: Refused: on its way is a link")
    assert (place / "t/sub/a").read_bytes() == OTHER
    assert writes(server) == ["DELETE /objects/photos/p/sub/a"]


# Dry runs


@pytest.mark.parametrize(
    ("words", "answers", "says"),
    [
        ("put a b photos/", [reply(200)], "Would store a as photos/a"),
        ("put a photos/ --make-bucket", [MISSING], "Would make the bucket photos"),
        ("put a cat1", [], "Would store a as cat1"),
        ("get photos/x", [described(BODY)], "Would fetch photos/x as x"),
        ("cp a photos/", [reply(200)], "Would store a as photos/a"),
        ("mv a photos/", [reply(200)], "Would move a as photos/a"),
        ("cp photos/x ./x", [described(BODY)], "Would fetch photos/x as ./x"),
        (
            "cp amazin:photos/x amazin:b/",
            [reply(200), described(BODY)],
            "Would copy photos/x as b/x",
        ),
        (
            "mv -r t photos",
            [json_reply([info("c")]), described(b"t/c")],
            "Would remove t/c: ",
        ),
        ("cp -r t photos", [json_reply([])], "Would store 1 object, 0 are there"),
        ("mv -r t photos --make-bucket", [MISSING], "Would move t/c as photos/c"),
        (
            "cp -r photos ./new",
            [json_reply([info("x/y", BODY)])],
            "Would fetch photos/x/y as ",
        ),
        ("rm photos/x", [described(BODY)], "Would remove photos/x"),
        ("rm -r photos", [json_reply([info("x")])], "Would remove photos/x"),
        ("rb photos", [json_reply([])], "Would remove the bucket photos"),
        ("rb --force photos", [json_reply([info("x")])], "Would remove photos/x"),
    ],
)
def test_a_dry_run_changes_nothing_and_says_what_it_would(
    words: str, answers: list[Reply], says: str, place: Path, gateway: Gateway
) -> None:
    make(place, "a", "b", "t/c")
    before = sorted(place.rglob("*"))
    server = gateway(*answers)
    found = run(server, *words.split(), "--dry-run")
    assert says in found.stdout
    assert writes(server) == []
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "answers", "says"),
    [
        ("put a photos/", [MISSING], "no such bucket; --make-bucket makes photos"),
        ("get photos/x", [MISSING, json_reply([])], "no such object"),
        ("mv photos/x ./x", [MISSING, json_reply([])], "no such object"),
        ("cp amazin:b/x amazin:c/", [MISSING], "no such bucket"),
        ("rb photos", [json_reply([info("x")])], "not empty"),
    ],
)
def test_a_dry_run_fails_where_the_run_would(
    words: str, answers: list[Reply], says: str, place: Path, gateway: Gateway
) -> None:
    make(place, "a")
    server = gateway(*answers)
    found = run(server, *words.split(), "--dry-run", code=1)
    assert says in found.stderr
    assert "Would" not in found.stdout
    assert writes(server) == []


# Patterns


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.jpg", ["a.jpg", "x/a.jpg", ".jpg"], ["a.jpg/b", "a.jpgs", "jpg"]),
        ("/*.jpg", ["a.jpg"], ["x/a.jpg"]),
        ("tmp/", ["tmp/a", "x/tmp/a/b"], ["tmp", "xtmp/a"]),
        ("/tmp/", ["tmp/a"], ["x/tmp/a"]),
        ("a/*/c", ["a/b/c", "x/a/b/c"], ["a/b/b/c", "a/c"]),
        ("/a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
        ("a?c", ["abc", "x/aäc"], ["a/c", "ac"]),
        ("[ab].x", ["a.x"], ["c.x", "[ab].x"]),
        ("[!ab].x", ["c.x"], ["a.x"]),
        ("*.{jpg,png}", ["a.jpg", "b/a.png"], ["a.gif", "a.{jpg,png}"]),
        ("a.b+(c)", ["a.b+(c)"], ["axb+(c)", "a.bb(c)"]),
        ("[^ab].x", ["c.x"], ["a.x", "b.x"]),
        ("[a&&b|~[]", ["&", "["], ["x"]),
        (r"\[a\]\*\{", ["[a]*{"], ["a*{", "[a]b{"]),
        (r"\\*", ["\\", r"\a"], ["a"]),
        ("{,.}a{*,?}/", ["a/b", ".abc/d"], ["b/a"]),
        ("a\nb", ["a\nb"], ["a"]),
        (r"a\x2d*", [r"a\x2db"], ["a-b"]),
    ],
)
def test_what_a_pattern_matches(
    pattern: str, matching: list[str], other: list[str]
) -> None:
    found = pattern_of(pattern)
    assert [name for name in matching + other if found.fullmatch(name)] == matching


@pytest.mark.parametrize(
    "pattern", ["", "/", "[z-a]", "[!]", "[^]", "[a", "{a,{b,c}}", "{a", "a}", "[]"]
)
@pytest.mark.parametrize("option", ["--include", "--exclude"])
def test_what_is_no_pattern_excludes_nothing_by_mistake(
    option: str, pattern: str, gateway: Gateway
) -> None:
    server = gateway()
    found = run(server, "rm", "-r", "photos", option, pattern, "--yes", code=2)
    assert "is no pattern like" in found.stderr
    assert server.asked == []


SELECT = ["--include", "*.jpg", "--include", "/top/", "--exclude", "tmp/"]
NAMES = ["a.jpg", "b.txt", "tmp/c.jpg", "top/d", "x/top/e"]
TAKEN = ["a.jpg", "top/d"]


def test_files_are_selected_by_name(place: Path, gateway: Gateway) -> None:
    make(place / "t", *NAMES)
    os.mkfifo(place / "t" / "pipe")
    server = gateway(json_reply([]), store, store)
    found = run(server, "cp", "-r", "t", "photos/p", *SELECT, "--jobs", "1")
    assert writes(server) == [f"PUT /objects/photos/p/{name}" for name in TAKEN]
    assert found.stderr == ""


def test_objects_are_selected_by_the_rest_of_their_keys(
    place: Path, gateway: Gateway
) -> None:
    page = json_reply([info(f"p/{name}", BODY) for name in NAMES])
    run(gateway(page, content(BODY), content(BODY)), "cp", "-r", "b/p", "./t", *SELECT)
    assert sorted(files(place / "t")) == TAKEN
    removed = json_reply({"deleted": [], "errors": []})
    server = gateway(page, removed)
    run(server, "rm", "-r", "b/p", *SELECT, "--yes")
    assert json.loads(server.asked[1].body) == {"keys": [f"p/{n}" for n in TAKEN]}
    found = run(gateway(page), "ls", "-r", "b/p/", *SELECT)
    assert [line.split()[-1] for line in found.stdout.splitlines()] == [
        f"p/{name}" for name in TAKEN
    ]
    found = run(gateway(page), "du", "b/p", *SELECT, "--json")
    assert json.loads(found.stdout)["objects"] == len(TAKEN)


# Buckets, properties, sums and URLs


def test_buckets_are_made_and_removed(gateway: Gateway) -> None:
    server = gateway(MISSING, MADE, reply(200), MADE, DONE)
    found = run(server, "mb", "photos", "amazin:letters/")
    assert "photos is there now" in found.stdout
    assert "letters exists already" in found.stdout
    run(server, "rb", "photos/")
    assert server.lines[-1] == "DELETE /buckets/photos"


def test_a_bucket_that_is_not_empty_stays_without_force(gateway: Gateway) -> None:
    server = gateway(refusal(409, "BucketNotEmpty", "delete them first"))
    found = run(server, "rb", "photos", code=1)
    assert "amazin rb --force" in found.stderr
    page = json_reply([info("a")])
    removed = json_reply({"deleted": ["a"], "errors": []})
    server = gateway(page, removed, DONE)
    run(server, "rb", "photos", "--force", data=b"y\n")
    assert server.lines[1:] == ["POST /objects/photos/delete", "DELETE /buckets/photos"]


def test_force_asks_and_removes_no_bucket_that_could_not_be_emptied(
    gateway: Gateway,
) -> None:
    server = gateway()
    run(server, "rb", "photos", "--force", code=1, data=b"n\n")
    assert server.asked == []
    errors = [{"key": "a", "code": "NodeUnreachable", "error": "Too few"}]
    left = json_reply({"deleted": [], "errors": errors})
    run(gateway(json_reply([info("a")]), left), "rb", "--force", "b", "--yes", code=1)


def test_the_properties_of_objects_are_shown(gateway: Gateway) -> None:
    kept = [
        "Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT",
        "Content-Type: image/jpeg",
        "X-Meta-Owner: \u00c3\u00a4nn",
        "Server: x",
    ]
    found = run(gateway(described(BODY, *kept)), "stat", "photos/a")
    rows = dict(line.split(maxsplit=1) for line in found.stdout.splitlines())
    assert rows["Object"] == "photos/a"
    assert rows["Size"] == str(len(BODY))
    assert rows["Last-Modified"] == "2026-11-21T12:00:00Z"
    assert rows["X-Meta-Owner"] == "änn"
    assert "Server" not in rows
    server = gateway(MISSING, json_reply([]), described(BODY, *kept))
    found = run(server, "stat", "photos/nix", "photos/a", "--json", code=1)
    told = json.loads(found.stdout)
    assert told["headers"]["Content-Type"] == told["content_type"] == "image/jpeg"
    assert found.stderr == "photos/nix: There is no such object\n"


def test_an_object_has_a_size_too(gateway: Gateway) -> None:
    server = gateway(json_reply([]), described(BODY))
    found = json.loads(run(server, "du", "photos/a", "--json").stdout)
    assert found == {"place": "photos/a", "objects": 1, "bytes": len(BODY)}


def test_sizes_are_summed_up(gateway: Gateway) -> None:
    page = json_reply([info("a", size=10), info("b/c", size=2**40)])
    server = gateway(json_reply(["photos"]), page)
    assert run(server, "du").stdout.split() == [
        *(str(2**40 + 10), "1.1", "TB", "2", "objects", "photos/")
    ]


@pytest.mark.parametrize(
    ("words", "order"),
    [
        ([], {"method": "GET", "expiry": "900s"}),
        (["--put", "--expires", "7d"], {"method": "PUT", "expiry": "604800s"}),
        (["--expires", "1m30s"], {"method": "GET", "expiry": "90s"}),
    ],
)
def test_a_url_is_printed(words: list[str], order: object, gateway: Gateway) -> None:
    server = gateway(json_reply({"url": "http://x/y"}))
    assert run(server, "presign", "photos/a b", *words).stdout == "http://x/y\n"
    assert server.lines == ["POST /presigned-url/photos/a%20b"]
    assert json.loads(server.asked[0].body) == order


# The rate


@pytest.mark.parametrize("words", [["put", "a", "b/a"], ["get", "b/a", "b"]])
def test_no_more_bytes_are_moved_in_a_second_than_permitted(
    words: list[str], place: Path, gateway: Gateway
) -> None:
    (place / "a").write_bytes(bytes(4096))
    pauses: list[float] = []
    server = gateway(store if words[0] == "put" else content(bytes(4096)))
    words = [*words, "--limit-rate", "1K", "--url", server.url]
    assert invoke(*words, sleep=pauses.append).exit_code == 0
    assert 2.5 < max(pauses) <= 3
