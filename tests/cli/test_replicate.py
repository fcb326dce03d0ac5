"""What `amazin replicate` promises to people and to their scripts."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, redirect_stdout
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingMixIn, ThreadingTCPServer
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from amazin.api.blob_server import FolderServices, routes
from amazin.blobs.folder_store import BlobFolder
from amazin.blobs.replication.run import Stage
from amazin.blobs.replication.work import Report
from amazin.cli.main import main
from amazin.cli.replicate import Printer, fields, shown_at, summary
from amazin.model.bodies import HeldBody
from amazin.settings.settings import Settings
from amazin.web.spool import SpoolRoom
from gateway import Gateway
from tests.support.old_sos import OldBlobServer
from tests.support.ports import free_port


class ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Store:
    """A folder of blobs, and where it is served."""

    def __init__(self, folder: BlobFolder, url: str) -> None:
        self.folder = folder
        self.url = url

    def put(self, data: bytes, blob_id: str = "") -> str:
        blob_id = blob_id or hashlib.sha1(data).hexdigest()
        self.folder.put(blob_id, HeldBody(data), {})
        return blob_id

    @property
    def ids(self) -> set[str]:
        return {blob_id for batch in self.folder.ids() for blob_id in batch}


@contextmanager
def served(path: Path) -> Iterator[Store]:
    path.mkdir()
    folder, settings = BlobFolder(path), Settings()
    services = FolderServices(folder, settings, SpoolRoom(str(path), 10**6))
    app = Gateway(routes(settings), services)
    server = make_server("127.0.0.1", 0, app, ThreadingServer, QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Store(folder, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        folder.node.close()


NewStore = Callable[[], Store]


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[NewStore]:
    with ExitStack() as stack:
        numbers = iter(range(99))
        yield lambda: stack.enter_context(served(tmp_path / f"store-{next(numbers)}"))


@contextmanager
def closing_old(folder: Path) -> Iterator[OldBlobServer]:
    server = OldBlobServer(folder)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """What a command does to the process's log ends with the test."""
    yield
    logger = logging.getLogger("amazin")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


class Replicate:
    """Runs the command with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(self, *arguments: str) -> Result:
        environment = {"HOME": str(self._home), "SPOOL_DIR": str(self._home)}
        return CliRunner().invoke(main, ["replicate", *arguments], env=environment)

    def on(self, stores: Sequence[Store], *arguments: str) -> Result:
        given = ",".join(store.url for store in stores)
        return self("-blob-server", given, *arguments)


@pytest.fixture
def replicate(tmp_path: Path) -> Replicate:
    return Replicate(tmp_path)


def test_what_is_missing_is_copied_and_summed_up(
    new_store: NewStore, replicate: Replicate
) -> None:
    one, two, three = new_store(), new_store(), new_store()
    ids = {one.put(b"one"), two.put(b"two")}
    done = replicate.on([one, two, three])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "copied 2 blobs (12 bytes), looked at 2 blobs\n"
    assert one.ids == two.ids == three.ids == ids


@pytest.mark.parametrize("option", ["-v", "-verbose", "--verbose"])
def test_verbose_prints_the_lines_of_the_old_program_and_no_others(
    option: str, new_store: NewStore, replicate: Replicate
) -> None:
    one, two = new_store(), new_store()
    one.put(b"everywhere", "everywhere")
    two.put(b"everywhere", "everywhere")
    two.put(b"new", "new")
    done = replicate.on([one, two], option)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "\t     group - server",
        f"\t   default - {one.url}",
        f"\t   default - {two.url}",
        "Syncing group: default",
        f"\tGroup member: {one.url}",
        f"\tGroup member: {two.url}",
        f"\tObject everywhere is present on {one.url}",
        f"\tObject everywhere is present on {two.url}",
        f"\tObject new is missing on {one.url}",
        f"\t\tMirroring new from {two.url} to {one.url}",
        f"\tFetching :{two.url}/blob/new",
        f"\tUploading :{one.url}/blob/new",
    ]
    assert done.stderr == "copied 1 blob (3 bytes), looked at 2 blobs\n"


@pytest.mark.parametrize("written", ["-blob-server={}", "--blob-server={}"])
def test_servers_may_be_given_as_before(
    written: str, new_store: NewStore, replicate: Replicate
) -> None:
    one, two = new_store(), new_store()
    blob_id = one.put(b"data")
    assert replicate(written.format(f"{one.url},{two.url}/")).exit_code == 0
    assert two.ids == {blob_id}


def test_servers_come_from_the_files_of_the_old_program(
    new_store: NewStore, replicate: Replicate, tmp_path: Path
) -> None:
    one, two, three = new_store(), new_store(), new_store()
    text = f"# mine\n[a]\n-: {one.url}\n-: {two.url}\n[b]\n-: {three.url}\n"
    (tmp_path / ".sos.conf").write_text(text)
    blob_id = one.put(b"data")
    done = replicate("-v")
    assert done.exit_code == 0
    assert f"\t         b - {three.url}" in done.stdout
    assert "Syncing group: a" in done.stdout
    assert "Syncing group: b" in done.stdout
    assert (two.ids, three.ids) == ({blob_id}, set())


def test_without_servers_there_is_nothing_to_do(replicate: Replicate) -> None:
    done = replicate()
    assert done.exit_code == 0
    assert done.stdout.startswith("nothing to do: ")
    assert json.loads(replicate("--json").stdout)["is_well"]
    assert replicate("-v").stdout == "\t     group - server\n"


def test_one_server_need_not_even_live(replicate: Replicate) -> None:
    assert replicate("-blob-server", f"http://127.0.0.1:{free_port()}").exit_code == 0


def test_a_dead_server_is_said_in_the_end(
    new_store: NewStore, replicate: Replicate
) -> None:
    one, two = new_store(), new_store()
    dead = f"http://127.0.0.1:{free_port()}"
    blob_id = one.put(b"data")
    done = replicate("-blob-server", f"{one.url},{dead},{two.url}")
    assert done.exit_code == 1
    assert done.stdout.endswith(", looked at 1 blob, 1 server left out\n")
    assert done.stderr == f"{dead} was left out: no connection to the node\n"
    assert two.ids == {blob_id}


class Nonsense:
    """What answers every request on a port like this."""

    def __init__(self, answer: bytes) -> None:
        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                self.rfile.readline()
                self.wfile.write(answer)

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = "http://{}:{}".format(*self._server.server_address)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n["b", "a"]',
        b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n["a", "b"',
        b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["a", "b"',
        b'HTTP/1.1 200 OK\r\n\r\n["a"]',
    ],
)
def test_what_gives_no_list_is_left_out(
    answer: bytes, new_store: NewStore, replicate: Replicate
) -> None:
    one, two = new_store(), new_store()
    blob_id = one.put(b"data")
    with closing(Nonsense(answer)) as other:
        done = replicate("-blob-server", f"{one.url},{other.url},{two.url}")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{other.url} was left out: ")
    assert done.stderr.count("\n") == 1
    assert two.ids == {blob_id}


def test_what_a_full_old_server_keeps_is_found_by_a_check(
    new_store: NewStore, replicate: Replicate, tmp_path: Path
) -> None:
    source = new_store()
    blob_id = source.put(b"data that finds no room")
    with closing_old(tmp_path / "old") as old:
        given = f"{source.url},{old.url}"
        old.is_full = True
        done = replicate("-blob-server", given)
        assert done.exit_code == 1
        assert f"{blob_id} can't be copied to {old.url}: " in done.stderr
        assert "it may have kept a part, see --check" in done.stderr
        done = replicate("-blob-server", given, "--check")
        assert f"{blob_id} is damaged on {old.url}" in done.stderr


def test_old_and_new_servers_mirror_each_other(
    new_store: NewStore, replicate: Replicate, tmp_path: Path
) -> None:
    new, big = new_store(), b"of many pieces " * 100_000
    with closing_old(tmp_path / "old") as old:
        ids = {new.put(big), new.put(b"", "empty")}
        blob_id = hashlib.sha1(b"from the old one").hexdigest()
        old.store(blob_id, b"from the old one", {"X-From": "old"})
        assert replicate("-blob-server", f"{new.url},{old.url}").exit_code == 0
        assert set(old.ids()) == new.ids == ids | {blob_id}
        assert old.get(hashlib.sha1(big).hexdigest()) == (big, {})
        info = new.folder.head(blob_id).info
        assert (info.size, info.headers["X-From"]) == (16, "old")


def test_what_is_no_blob_on_an_old_server_stays_where_it_is(
    new_store: NewStore, replicate: Replicate, tmp_path: Path
) -> None:
    new = new_store()
    with closing_old(tmp_path / "old") as old:
        (old.folder / "README.txt").write_text("not a blob")
        (old.folder / "lost+found").mkdir()
        old.store("blob", b"data", {})
        assert replicate("-blob-server", f"{new.url},{old.url}").exit_code == 0
        assert new.ids == {"blob"}


def test_what_differs_is_said(new_store: NewStore, replicate: Replicate) -> None:
    one, two = new_store(), new_store()
    one.put(b"first", "custom")
    two.put(b"other", "custom")
    done = replicate.on([one, two])
    assert done.exit_code == 1
    assert "1 with different contents" in done.stdout
    assert done.stderr.startswith(f"custom has different contents: {one.url} has 5 ")


def test_a_check_finds_what_is_damaged(
    new_store: NewStore, replicate: Replicate
) -> None:
    store = new_store()
    blob_id = hashlib.sha1(b"right").hexdigest()
    store.put(b"wrong", blob_id)
    assert replicate.on([store]).exit_code == 0
    done = replicate.on([store], "--check")
    assert done.exit_code == 1
    assert "1 damaged copy" in done.stdout
    assert f"{blob_id} is damaged on {store.url}" in done.stderr


def test_the_report_is_there_as_json(new_store: NewStore, replicate: Replicate) -> None:
    one, two = new_store(), new_store()
    one.put(b"data")
    two.put(b"other", hashlib.sha1(b"x").hexdigest())
    done = replicate.on([one, two], "--json", "--jobs", "1")
    assert (done.exit_code, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    problems = report.pop("problems")
    assert report == {
        "blobs": 2,
        "copied": 1,
        "copies": 1,
        "bytes": 4,
        "damaged": 1,
        "differing": 0,
        "failures": 1,
        "left_out": {},
        "more_problems": 0,
        "is_well": False,
    }
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-blob-server", "localhost:3001"), "-blob-server: "),
        (("-blob-server", "http://a:1,ftp://b"), "-blob-server: "),
        (("-v", "--json"), "don't go together"),
        (("--jobs", "0"), "--jobs"),
        (("--bogus",), "--bogus"),
        (("extra",), "extra"),
    ],
)
def test_a_mistake_is_a_sentence_and_2(
    arguments: Sequence[str], sentence: str, replicate: Replicate
) -> None:
    done = replicate(*arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stdout == ""


def test_no_place_for_the_lists_is_a_sentence_and_1(
    new_store: NewStore, replicate: Replicate, tmp_path: Path
) -> None:
    stores = [new_store(), new_store()]
    given = ",".join(store.url for store in stores)
    environment = {"HOME": str(tmp_path), "SPOOL_DIR": str(tmp_path / "missing")}
    arguments = ["replicate", "-blob-server", given]
    done = CliRunner().invoke(main, arguments, env=environment)
    assert done.exit_code == 1
    assert done.stderr == (
        "SPOOL_DIR: no place for the lists of blobs: No such file or directory\n"
    )


def test_a_password_in_a_url_is_in_no_line(
    new_store: NewStore, replicate: Replicate
) -> None:
    one, two = new_store(), new_store()
    one.put(b"data")
    secret = two.url.replace("//", "//user:sw@rdfish@")
    dead = f"http://user:sw@rdfish@127.0.0.1:{free_port()}"
    done = replicate("-v", "-blob-server", f"{one.url},{secret},{dead}")
    for part in ("user", "sw@", "rdfish"):
        assert part not in done.output
    assert f"   default - {two.url}\n" in done.stdout
    assert f"Uploading :{two.url}/blob/" in done.stdout


def test_a_terminal_shows_how_far_it_is() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    report = Report(copied=7, bytes=7_000_000)
    with shown_at(console) as tell:
        tell(Stage("mirrors", report))
        tell(Stage("mirrors", report, 7, 20))
    assert "mirrors" in screen.getvalue()
    assert "7/20" in screen.getvalue()
    assert "copied 7 blobs (7.0 MB)" in screen.getvalue()


def test_the_summary_says_what_is_left() -> None:
    report = Report(blobs=9, copied=1, bytes=5, damaged=2, differing=3, failures=4)
    report.left_out["http://a"] = "dead"
    assert summary(report) == (
        "copied 1 blob (5 bytes), looked at 9 blobs, 3 with different contents, "
        "2 damaged copies, 4 failures, 1 server left out"
    )


def test_json_has_every_number_of_the_report() -> None:
    names = {name for name in vars(Report()) if not name.startswith("_")}
    assert set(fields(Report())) == names | {"is_well"}


class SlowScreen(io.StringIO):
    """Lets other threads run between two lines."""

    def write(self, text: str) -> int:
        first, end, rest = text.partition("\n")
        super().write(first + end)
        time.sleep(0)
        return super().write(rest)


def test_lines_of_threads_do_not_mix() -> None:
    screen, printer = SlowScreen(), Printer()

    def print_many(name: str) -> None:
        for _ in range(200):
            printer.say([f"{name} 1", f"{name} 2"])

    with redirect_stdout(screen), ThreadPoolExecutor(4) as pool:
        list(pool.map(print_many, "abcd"))
    lines = screen.getvalue().splitlines()
    assert len(lines) == 1600
    pairs = zip(lines[::2], lines[1::2], strict=True)
    assert set(pairs) == {(f"{n} 1", f"{n} 2") for n in "abcd"}
