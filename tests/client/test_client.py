"""What a client of a gateway promises to programs, whatever the gateway does."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import amazin.client
from amazin.client.client import PAGE_KEYS, GatewayClient
from amazin.client.http import MAX_PAUSE_SECONDS, PAUSES_SECONDS, PIECE_BYTES
from amazin.client.objects import path_of
from amazin.client.streams import md5
from amazin.errors import ClientError, DamagedError, ObjectChangedError, RefusedError
from tests.support.cleanup import closed_later
from tests.support.faulty import receive_head
from tests.support.ports import free_port
from tests.support.scripted_gateway import (
    Asked,
    Reply,
    Script,
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


class Clock:
    """Counts the pauses that nobody waits for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scripted(
    clock: Clock,
) -> Iterator[Callable[..., tuple[GatewayClient, ScriptedGateway]]]:
    """A function: a gateway that gives these answers, and a client of it."""
    made: list[ScriptedGateway] = []

    def make(*replies: Script) -> tuple[GatewayClient, ScriptedGateway]:
        gateway = ScriptedGateway(*replies).__enter__()
        made.append(gateway)
        return new_client(gateway.url, "t0ken", clock.sleep), gateway

    yield make
    for gateway in made:
        gateway.__exit__(None, None, None)


def new_client(*arguments: Any, **options: Any) -> GatewayClient:
    return closed_later(GatewayClient(*arguments, **options))


Make = Callable[..., tuple[GatewayClient, ScriptedGateway]]


def fetched(client: GatewayClient, address: str = "photos/a") -> bytes:
    with client.get(address) as stream:
        return b"".join(stream)


# Addresses


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("cat1", "/object/cat1"),
        ("photos/a.jpg", "/objects/photos/a.jpg"),
        ("photos//a", "/objects/photos//a"),
        ("photos/a/../b/.", "/objects/photos/a/%2E%2E/b/%2E"),
        ("photos/100%?#&+ ", "/objects/photos/100%25%3F%23%26%2B%20"),
        ("photos/äöü/\n", "/objects/photos/%C3%A4%C3%B6%C3%BC/%0A"),
        ("photos/a/", "/objects/photos/a/"),
        ("..", "/object/%2E%2E"),
    ],
)
def test_an_address_is_encoded_such_that_nothing_of_it_is_lost(
    address: str, path: str, scripted: Make
) -> None:
    assert path_of(address) == path
    client, gateway = scripted(content(BODY))
    assert fetched(client, address) == BODY
    assert gateway.lines == [f"GET {path}"]


@pytest.mark.parametrize("address", ["", "/a", "photos/", "photos/list", "a/\udcff"])
def test_what_is_no_address_is_never_sent(address: str, scripted: Make) -> None:
    client, _ = scripted()
    for act in (client.get, client.head, client.delete):
        with pytest.raises(ClientError):
            act(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x",
        "http://",
        "http://a:b@c",
        "http://a?b",
        "http://a:99999",
        "a b://",
        "http://例え..x:1",
        "http://a..b:1",
        f"https://{'a' * 64}:1",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="no URL"):
        GatewayClient(url)


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ä"])
def test_a_token_can_not_smuggle_in_headers(token: str) -> None:
    with pytest.raises(ClientError, match="token"):
        GatewayClient("http://localhost", token)


def test_a_gateway_may_be_below_a_path_and_gets_the_token(scripted: Make) -> None:
    _, gateway = scripted(content(BODY))
    client = new_client(gateway.url + "/store/", "t0ken")
    assert fetched(client) == BODY
    assert gateway.lines == ["GET /store/objects/photos/a"]
    assert gateway.asked[0].headers["authorization"] == "Bearer t0ken"


# Uploads


def test_an_upload_tells_its_length_and_headers(scripted: Make) -> None:
    client, gateway = scripted(store)
    stored = client.put("photos/a", BODY, headers={"X-Owner": "Änn"})
    assert (stored.size, stored.etag) == (len(BODY), etag_of(BODY))
    asked = gateway.asked[0]
    assert asked.line == "PUT /objects/photos/a"
    assert asked.body == BODY
    assert asked.headers["content-length"] == str(len(BODY))
    assert asked.headers["x-owner"].encode("latin-1").decode() == "Änn"


def test_an_upload_without_a_length_is_chunked(scripted: Make) -> None:
    client, gateway = scripted(store)
    data = BODY * 100
    assert client.put("photos/a", io.BytesIO(data)).size == len(data)
    assert gateway.asked[0].headers["transfer-encoding"] == "chunked"
    assert gateway.asked[0].body == data


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "3"}, {"a b": "c"}, {"X-A": "b\r\nX-C: d"}, {"Host": "x"}],
)
def test_headers_that_would_break_the_request_are_refused(
    headers: dict[str, str], scripted: Make
) -> None:
    client, _ = scripted()
    with pytest.raises(ClientError):
        client.put("photos/a", b"x", headers=headers)


def test_other_bytes_stored_than_sent_are_an_error(scripted: Make) -> None:
    client, _ = scripted(json_reply(info("a", OTHER), 201))
    with pytest.raises(DamagedError):
        client.put("photos/a", BODY)


def test_fewer_bytes_stored_than_sent_are_an_error(scripted: Make) -> None:
    told = info("a", BODY, size=3) | {"etag": "abc-2"}
    client, _ = scripted(json_reply(told, 201))
    with pytest.raises(DamagedError):
        client.put("photos/a", BODY)


def test_a_body_that_is_too_short_breaks_the_upload_off(scripted: Make) -> None:
    client, gateway = scripted()
    with pytest.raises(ClientError, match="shorter"):
        client.put("photos/a", io.BytesIO(BODY), len(BODY) + 1)
    assert gateway.asked == []  # the request never became whole


def test_an_upload_that_met_a_passing_error_is_sent_again_whole(
    scripted: Make, clock: Clock
) -> None:
    client, gateway = scripted(
        refusal(503, "NodeUnreachable", headers=["Retry-After: 3"]),
        Reply(b"", "reset"),
        Reply(b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{", "close"),
        store,
    )
    body = io.BytesIO(b"skipped" + BODY)
    body.seek(7)
    assert client.put("photos/a", body, len(BODY)).etag == etag_of(BODY)
    assert [asked.body for asked in gateway.asked] == [BODY] * 4
    assert clock.pauses == [3.0, 1.0, 2.0]


def test_a_body_that_can_not_be_had_again_is_sent_once(scripted: Make) -> None:
    class Pipe:
        def __init__(self) -> None:
            self._file = io.BytesIO(BODY)

        def read(self, size: int, /) -> bytes:
            return self._file.read(size)

    client, gateway = scripted(refusal(503, "NodeUnreachable"))
    with pytest.raises(RefusedError):
        client.put("photos/a", Pipe())
    assert len(gateway.asked) == 1


def test_a_conditional_upload_is_sent_once(scripted: Make) -> None:
    client, gateway = scripted(refusal(503, "NodeUnreachable"))
    with pytest.raises(RefusedError):
        client.put("photos/a", BODY, headers={"If-None-Match": "*"})
    assert len(gateway.asked) == 1


def refuse_early(listener: socket.socket) -> None:
    """Refuse one request before its body came, as servers do, and close."""
    listener.settimeout(PATIENCE_SECONDS)
    sock, _ = listener.accept()
    sock.settimeout(PATIENCE_SECONDS)
    with sock:
        receive_head(sock, b"")
        closing = ["Connection: close"]
        sock.sendall(refusal(413, "ObjectTooLarge", "Too large", closing).raw)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(2**16):
            pass


def test_an_answer_that_comes_before_the_body_is_understood() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse_early, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with GatewayClient(url) as client, pytest.raises(RefusedError, match="Too l"):
            client.put("photos/a", bytes(2**23))
        thread.join(PATIENCE_SECONDS)


# Downloads


def test_a_download_has_all_bytes_and_what_is_known(scripted: Make) -> None:
    client, _ = scripted(content(BODY))
    with client.get("photos/a") as stream:
        assert (stream.info.size, stream.info.etag) == (len(BODY), etag_of(BODY))
        assert b"".join(stream) == BODY


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("cut", [0, 1, 5000, len(BODY) - 1])
def test_a_download_that_breaks_is_gone_on_with(
    cut: int, end: str, scripted: Make
) -> None:
    def rest(asked: Asked) -> Reply:
        found = asked.headers.get("range", "bytes=0-")
        start = int(found.removeprefix("bytes=").removesuffix("-"))
        assert start <= cut
        assert asked.headers["if-match"] == f'"{etag_of(BODY)}"'
        return content(BODY, start)

    client, _ = scripted(content(BODY, cut=cut, end=end), rest)
    assert fetched(client) == BODY


def test_it_goes_on_as_long_as_anything_comes(scripted: Make, clock: Clock) -> None:
    replies = [content(BODY, at, cut=at + 100) for at in range(0, len(BODY), 100)]
    client, _ = scripted(*replies[:-1], content(BODY, (len(replies) - 1) * 100))
    assert fetched(client) == BODY
    assert set(clock.pauses) == {PAUSES_SECONDS[0]}


def test_it_ends_with_an_error_if_nothing_comes_any_more(
    scripted: Make, clock: Clock
) -> None:
    nothing = [Reply(b"", "reset")] * len(PAUSES_SECONDS)
    client, _ = scripted(content(BODY, cut=100), *nothing)
    with client.get("photos/a") as stream:
        pieces = iter(stream)
        assert next(pieces) == BODY[:100]
        with pytest.raises(ClientError, match="broke"):
            next(pieces)


def test_it_never_mixes_two_versions(scripted: Make) -> None:
    gone = refusal(412, "PreconditionFailed")
    for answer in (gone, content(OTHER, 100), content(OTHER), refusal(404, "NoSuch")):
        client, _ = scripted(content(BODY, cut=100), answer)
        with pytest.raises(ObjectChangedError):
            fetched(client)


def test_a_server_that_ignores_ranges_is_not_believed(scripted: Make) -> None:
    client, _ = scripted(content(BODY, cut=100), content(BODY))
    with pytest.raises(ObjectChangedError):
        fetched(client)


@pytest.mark.parametrize("start", [99, 101])
def test_another_range_than_was_asked_for_is_refused(
    start: int, scripted: Make
) -> None:
    client, _ = scripted(content(BODY, cut=100), content(BODY, start))
    with pytest.raises(ClientError, match="no sense"):
        fetched(client)


@pytest.mark.parametrize("at", [0, 5000, len(BODY) - 1])
def test_wrong_bytes_are_an_error_at_the_end(at: int, scripted: Make) -> None:
    wrong = bytearray(BODY)
    wrong[at] ^= 1
    client, _ = scripted(content(BODY, sent=bytes(wrong)))
    with pytest.raises(DamagedError):
        fetched(client)


def test_wrong_bytes_of_a_part_are_an_error_too(scripted: Make) -> None:
    client, _ = scripted(content(BODY, cut=100), content(BODY, 100, sent=OTHER))
    with pytest.raises(DamagedError):
        fetched(client)


def test_a_tag_that_is_no_md5_is_not_compared(scripted: Make) -> None:
    client, _ = scripted(content(BODY, etag="abc-7"))
    assert fetched(client) == BODY


def test_a_download_may_begin_in_the_middle_and_is_checked_as_a_whole(
    scripted: Make,
) -> None:
    for beginning in (BODY[:100], OTHER[:100]):
        client, _ = scripted(content(BODY, 100))
        digest = md5()
        digest.update(beginning)
        with client.get("photos/a", 100, etag_of(BODY), digest) as stream:
            if beginning == BODY[:100]:
                assert b"".join(stream) == BODY[100:]
            else:
                with pytest.raises(DamagedError):
                    list(stream)


def test_an_empty_object_is_an_object(scripted: Make) -> None:
    client, gateway = scripted(content(b""), content(b""))
    assert fetched(client) == fetched(client) == b""
    assert len(gateway.asked) == 2


def test_503_is_waited_for_as_long_as_the_gateway_says_within_reason(
    scripted: Make, clock: Clock
) -> None:
    client, _ = scripted(
        refusal(503, "NodeUnreachable", headers=["Retry-After: 7"]),
        refusal(503, "NodeUnreachable", headers=["Retry-After: 86400"]),
        refusal(503, "NodeUnreachable"),
        content(BODY),
    )
    assert fetched(client) == BODY
    assert clock.pauses == [7.0, MAX_PAUSE_SECONDS, PAUSES_SECONDS[2]]


def test_an_object_whose_bytes_are_lost_is_not_asked_for_again(scripted: Make) -> None:
    lost = refusal(502, "LostObject", headers=["X-Amazin-Lost: true"])
    client, _ = scripted(lost)
    with pytest.raises(RefusedError) as caught:
        client.get("a/b")
    assert caught.value.retry_after_seconds is None


def test_503_for_good_is_an_error_in_the_words_of_the_gateway(scripted: Make) -> None:
    tries = len(PAUSES_SECONDS) + 1
    client, _ = scripted(*[refusal(503, "NodeUnreachable", "Too few")] * tries)
    with pytest.raises(RefusedError, match=r"Too few \(request r17\)"):
        fetched(client)


@pytest.mark.parametrize("status", [400, 403, 404, 422, 500, 501, 507])
def test_what_does_not_pass_is_not_tried_again(
    status: int, scripted: Make, clock: Clock
) -> None:
    client, _ = scripted(refusal(status, "Code", "It is so"))
    with pytest.raises(RefusedError, match="It is so") as caught:
        fetched(client)
    assert (caught.value.status, caught.value.code) == (status, "Code")
    assert clock.pauses == []


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_let_in_is_told_how_to_give_a_token(
    status: int, scripted: Make
) -> None:
    client, _ = scripted(refusal(status, "NoCredentials"))
    with pytest.raises(RefusedError, match="AMAZIN_TOKEN"):
        fetched(client)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01 SSH-2.0-dropbear\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: x\r\n\r\nhello',
        b'HTTP/1.1 200 OK\r\nETag: W/"a"\r\nContent-Length: 5\r\n\r\nhello',
        b'HTTP/1.1 206 OK\r\nETag: "a"\r\nContent-Length: 5\r\n\r\nhello',
        b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n\r\n<html>",
        b'HTTP/1.1 400 No\r\nContent-Length: 13\r\n\r\n{"error": [1]',
        b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\n\xff\xfe\x1b[",
    ],
)
def test_nonsense_is_one_sentence(raw: bytes, scripted: Make) -> None:
    client, _ = scripted(Reply(raw, "close"))
    with pytest.raises(ClientError) as caught:
        fetched(client)
    assert str(caught.value).isprintable()


def test_a_sentence_of_a_gateway_can_not_play_with_the_terminal(scripted: Make) -> None:
    client, _ = scripted(refusal(404, "NoSuchObject", "\x1b[2J\u202eevil\r\n"))
    with pytest.raises(RefusedError) as caught:
        fetched(client)
    assert str(caught.value).isprintable()


def test_where_no_gateway_is_nobody_waits(clock: Clock) -> None:
    client = new_client(f"http://127.0.0.1:{free_port()}", sleep=clock.sleep)
    with pytest.raises(ClientError, match="is it running"):
        client.head("photos/a")
    assert clock.pauses == []


def test_a_gateway_that_was_there_is_waited_for(clock: Clock) -> None:
    with ScriptedGateway(content(BODY)) as gateway:
        client = new_client(gateway.url, sleep=clock.sleep)
        fetched(client)
    with pytest.raises(ClientError, match="is it running"):
        client.head("photos/a")
    assert clock.pauses == list(PAUSES_SECONDS)


@pytest.mark.parametrize(
    "first",
    [
        refusal(503, "NodeUnreachable"),
        Reply(b"", "reset"),
        Reply(b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{", "close"),
    ],
    ids=["503", "reset", "breaks off"],
)
def test_a_gateway_that_goes_away_in_an_upload_is_waited_for(
    first: Reply, clock: Clock
) -> None:
    gateway = ScriptedGateway(first).__enter__()

    def sleep(seconds: float) -> None:
        if not clock.pauses:
            gateway.__exit__(None, None, None)
        clock.sleep(seconds)

    client = new_client(gateway.url, sleep=sleep)
    with pytest.raises(ClientError, match="is it running"):
        client.put("photos/a", BODY)
    assert clock.pauses == list(PAUSES_SECONDS)


def test_a_client_that_is_closed_closes_its_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_SECONDS)
        answered: list[bytes] = []

        def answer_and_read_on() -> None:
            sock, _ = listener.accept()
            sock.settimeout(PATIENCE_SECONDS)
            with sock:
                receive_head(sock, b"")
                sock.sendall(json_reply([]).raw)
                answered.append(sock.recv(1))

        thread = threading.Thread(target=answer_and_read_on)
        thread.start()
        with GatewayClient(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            assert client.buckets() == []
            assert answered == []
        thread.join(PATIENCE_SECONDS)
    assert answered == [b""]


def test_a_client_that_is_closed_says_so_at_once(clock: Clock) -> None:
    client = new_client("http://127.0.0.1:1", sleep=clock.sleep)
    client.close()
    with pytest.raises(ClientError, match="The client is closed"):
        client.buckets()
    assert clock.pauses == []


def speak_no_tls(listener: socket.socket) -> None:
    listener.settimeout(PATIENCE_SECONDS)
    sock, _ = listener.accept()
    sock.settimeout(PATIENCE_SECONDS)
    with sock:
        sock.recv(2**16)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_tls_to_what_speaks_none_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=speak_no_tls, args=(listener,))
        thread.start()
        client = new_client(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ClientError, match="TLS"):
            client.buckets()
        thread.join(PATIENCE_SECONDS)


# Lists


def entries(names: list[str]) -> list[dict[str, object]]:
    return [info(name, name.encode()) for name in names]


def test_a_list_is_fetched_page_by_page(scripted: Make) -> None:
    names = [f"k{number:05}" for number in range(PAGE_KEYS + 3)]
    client, gateway = scripted(
        json_reply(entries(names[:PAGE_KEYS])), json_reply(entries(names[PAGE_KEYS:]))
    )
    assert [entry.key for entry in client.list("photos", "k&", False)] == names
    assert [line.partition("?")[2] for line in gateway.lines] == [
        f"limit={PAGE_KEYS}&recursive=false&prefix=k%26",
        f"limit={PAGE_KEYS}&recursive=false&prefix=k%26&after={names[PAGE_KEYS - 1]}",
    ]


def unmeasured(body: bytes) -> Reply:
    """Return an answer that ends where the connection does."""
    return Reply(b"HTTP/1.1 200 OK\r\n\r\n" + body, "close")


def test_what_answers_with_pages_is_asked_once(scripted: Make, clock: Clock) -> None:
    page = reply(200, b"<html>It works!</html>")
    client, gateway = scripted(page, page)
    for act in (lambda: client.put("photos/a", BODY), client.buckets):
        with pytest.raises(ClientError, match="is a gateway there"):
            act()
    assert len(gateway.asked) == 2


def test_a_list_that_breaks_off_is_asked_for_again(scripted: Make) -> None:
    whole = json.dumps(entries(["a", "b"])).encode()
    client, _ = scripted(
        reply(200, whole, cut=20, end="close"),
        unmeasured(whole[:-1]),
        json_reply(entries(["a", "b"])),
    )
    assert [entry.key for entry in client.list("photos")] == ["a", "b"]


def test_a_list_that_never_gets_whole_is_an_error(scripted: Make) -> None:
    broken = unmeasured(json.dumps(entries(["a"])).encode()[:-1])
    client, _ = scripted(*[broken] * (len(PAUSES_SECONDS) + 1))
    with pytest.raises(ClientError):
        list(client.list("photos"))


@pytest.mark.parametrize(
    "told",
    [
        {},
        [1],
        [{"key": "a"}],
        entries(["b", "a"]),
        entries(["a", "a"]),
        [info("a", size=-1)],
        [info("a") | {"size": "1"}],
        [info("a") | {"key": 1}],
        entries([f"{number:05}" for number in range(PAGE_KEYS + 1)]),
    ],
)
def test_a_list_that_makes_no_sense_is_an_error(told: object, scripted: Make) -> None:
    client, _ = scripted(json_reply(told))
    with pytest.raises(ClientError, match="no sense"):
        list(client.list("photos"))


def test_the_keys_that_are_left_are_told(scripted: Make) -> None:
    errors = [{"key": "b", "code": "NodeUnreachable", "error": "Too few"}]
    client, gateway = scripted(json_reply({"deleted": ["a"], "errors": errors}))
    left = client.delete_all("photos", ["a", "b"])
    assert [(one.key, one.reason) for one in left] == [("b", "Too few")]
    assert json.loads(gateway.asked[0].body) == {"keys": ["a", "b"]}


def test_any_keys_may_be_removed_at_once(scripted: Make) -> None:
    keys = [f"{number:04}{'Ж' * 510}" for number in range(PAGE_KEYS)]
    client, gateway = scripted(json_reply({"deleted": keys, "errors": []}))
    assert client.delete_all("photos", keys) == []
    assert json.loads(gateway.asked[0].body) == {"keys": keys}
    assert len(gateway.asked[0].body) < 2**21
    with pytest.raises(ClientError, match="UTF-8"):
        client.delete_all("photos", ["a\udcff"])


def test_buckets_are_made_and_listed_and_objects_removed(scripted: Make) -> None:
    client, gateway = scripted(
        json_reply({"bucket": "photos"}, 201),
        json_reply(["letters", "photos"]),
        Reply(b"HTTP/1.1 204 No Content\r\n\r\n"),
        reply(200, headers=['ETag: "x"', "Content-Length: 7"]),
    )
    client.make_bucket("photos")
    assert client.buckets() == ["letters", "photos"]
    client.delete("photos/a")
    assert client.head("cat1").size == 7
    assert gateway.lines == [
        "POST /buckets/photos",
        "GET /buckets",
        "DELETE /objects/photos/a",
        "HEAD /object/cat1",
    ]


def test_large_bodies_pass_in_pieces(scripted: Make) -> None:
    class Zeros:
        left = 50 * PIECE_BYTES
        largest = 0

        def read(self, size: int, /) -> bytes:
            self.largest = max(self.largest, size)
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    client, _ = scripted(store)
    body = Zeros()
    client.put("photos/a", body, body.left)
    assert body.largest == PIECE_BYTES


def test_the_example_of_the_library_is_python() -> None:
    lines = (amazin.client.__doc__ or "").split("\n\n")[1:3]
    source = "\n".join(lines).replace("\n    ", "\n").strip()
    compile(source, str(Path(__file__)), "exec")


# Buckets, copies and URLs


def test_buckets_are_looked_for_and_removed(scripted: Make) -> None:
    client, gateway = scripted(reply(200), reply(404), reply(422), reply(204))
    assert [client.has_bucket("b/c") for _ in range(3)] == [True, False, False]
    client.remove_bucket("b")
    assert gateway.lines[0] == "HEAD /buckets/b%2Fc"
    assert gateway.lines[3] == "DELETE /buckets/b"


def test_what_is_not_known_of_a_bucket_is_an_error(scripted: Make) -> None:
    client, _ = scripted(reply(403))
    with pytest.raises(RefusedError):
        client.has_bucket("b")


def test_a_copy_names_its_source(scripted: Make) -> None:
    client, gateway = scripted(json_reply(info("b", BODY), 201))
    assert client.copy("photos/a/..", "photos/b").etag == etag_of(BODY)
    assert gateway.asked[0].headers["x-copy-source"] == "/photos/a/%2E%2E"
    with pytest.raises(ClientError, match="is an id"):
        client.copy("cat1", "photos/b")


def test_the_headers_that_are_kept_come_with_the_properties(scripted: Make) -> None:
    fields = ["x-meta-a: 1", "Cache-Control: no-store", "X-Request-Id: r", "Date: x"]
    etag = f'ETag: "{etag_of(BODY)}"'
    client, _ = scripted(reply(200, headers=[etag, "Content-Length: 3", *fields]))
    found, headers = client.inspect("photos/a")
    assert found.size == 3
    assert headers == {"X-Meta-A": "1", "Cache-Control": "no-store"}


@pytest.mark.parametrize("answer", [{}, [], {"url": 7}])
def test_a_url_that_is_none_is_an_error(answer: object, scripted: Make) -> None:
    client, _ = scripted(json_reply(answer))
    with pytest.raises(ClientError, match="makes no sense"):
        client.presign("photos/a")


def test_uploads_and_downloads_share_one_rate(clock: Clock) -> None:
    with ScriptedGateway(store, content(BODY)) as gateway:
        client = new_client(gateway.url, None, clock.sleep, bytes_per_second=5000)
        client.put("photos/a", BODY)
        assert fetched(client) == BODY
    assert 2 * len(BODY) / 5000 - 1 < max(clock.pauses) <= 2 * len(BODY) / 5000
