"""The gateway in Consul: what is registered, when, when again, and by whom."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amazin.serving.registrar import DEREGISTER_SECONDS, REGISTRATION, Registrar
from amazin.serving.registration import (
    Registration,
    Service,
    describe_gateway,
    register,
    route_to,
    wait_for_port,
)
from amazin.settings.settings import Settings
from tests.support.fake_consul import FakeAgent
from tests.support.paths import PROJECT
from tests.support.ports import free_port


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    agent = FakeAgent().start()
    yield agent
    agent.stop()


class Running:
    """A registration that runs in a thread, and is in a hurry."""

    def __init__(self, agent: FakeAgent, **settings: Any) -> None:
        values = {"consul_address": agent.address, "instance_id": "one", **settings}
        self.stopping = threading.Event()
        registration = Registration(
            Settings(host="127.0.0.1", **values),
            self.stopping,
            look_seconds=0.01,
            first_pause_seconds=0.01,
        )
        self.thread = threading.Thread(target=registration.run)
        self.thread.start()

    def stop(self) -> None:
        """Have it deregister, and end. Harmless if it has ended."""
        self.stopping.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def run(agent: FakeAgent) -> Iterator[Callable[..., Running]]:
    """A function that runs a registration with these settings."""
    running: list[Running] = []

    def start(**settings: Any) -> Running:
        running.append(Running(agent, **settings))
        return running[-1]

    yield start
    for one in running:
        one.stop()


# What is registered


def test_all_that_the_settings_say_is_registered(
    agent: FakeAgent, run: Callable[..., Running]
) -> None:
    run(
        port=4000,
        consul_service_name="files",
        consul_service_id_prefix="f-",
        consul_service_tags=("blue", "green"),
        consul_service_address="gateway.example",
        consul_health_check_path="/up",
        consul_health_check_interval=2.5,
        consul_health_check_timeout=0.5,
    )
    agent.wait(lambda: bool(agent.services))
    assert agent.services["f-one"] == {
        "id": "f-one",
        "name": "files",
        "address": "gateway.example",
        "port": 4000,
        "tags": ["blue", "green"],
        "checks": [
            {
                "http": "http://gateway.example:4000/up",
                "interval": "2500ms",
                "timeout": "500ms",
                "DeregisterCriticalServiceAfter": "600000ms",
            }
        ],
    }


@pytest.mark.parametrize(
    ("settings", "route", "address", "url"),
    [
        ({}, "10.0.0.7", "10.0.0.7", "http://10.0.0.7:3000/health"),
        ({}, "127.0.0.1", "", "http://127.0.0.1:3000/health"),
        ({}, "::1", "", "http://127.0.0.1:3000/health"),
        ({"host": "::"}, "fd00::7", "fd00::7", "http://[fd00::7]:3000/health"),
        ({"host": "::"}, "::1", "", "http://[::1]:3000/health"),
        ({"host": "10.0.0.9"}, "10.0.0.7", "10.0.0.9", "http://10.0.0.9:3000/health"),
        ({"host": "127.0.0.1"}, "::1", "127.0.0.1", "http://127.0.0.1:3000/health"),
        ({"consul_service_address": "g"}, "10.0.0.7", "g", "http://g:3000/health"),
        ({"health_path": "/up"}, "10.0.0.7", "10.0.0.7", "http://10.0.0.7:3000/up"),
    ],
)
def test_the_address_is_one_at_which_others_reach_the_gateway(
    settings: dict[str, Any], route: str, address: str, url: str
) -> None:
    service = describe_gateway(Settings(**settings), "host-1", route)
    assert (service.address, service.check_url) == (address, url)


def test_the_id_is_the_same_after_a_restart() -> None:
    ids = {describe_gateway(Settings(), "host-1", "::1").id for _ in range(2)}
    assert ids == {"storage-svc-host-1-3000"}
    named = describe_gateway(Settings(instance_id="blue"), "host-1", "::1")
    assert named.id == "storage-svc-blue"


@pytest.mark.parametrize(("interval", "seconds"), [(1, 600), (60, 600), (120, 1200)])
def test_an_agent_forgets_a_dead_gateway_only_after_a_while(
    interval: float, seconds: float
) -> None:
    settings = Settings(consul_health_check_interval=interval)
    assert describe_gateway(settings, "h", "::1").forget_seconds == seconds


def test_the_way_to_the_agent_says_who_we_are() -> None:
    assert route_to("127.0.0.1", 8500, "0.0.0.0") == "127.0.0.1"
    with pytest.raises(OSError):
        route_to("no such host", 8500, "0.0.0.0")


def test_the_way_is_one_that_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many machines have both addresses for `localhost`, ::1 first."""
    ways = [
        (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", 8500, 0, 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 8500)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*ways])
    assert route_to("localhost", 8500, "0.0.0.0") == "127.0.0.1"
    ways.reverse()
    assert route_to("localhost", 8500, "::") == "127.0.0.1"


# When


def test_an_agent_that_is_down_at_the_start_is_waited_for(
    agent: FakeAgent, run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    agent.stop()
    run()
    wait_for_message(caplog, "can't be registered: The Consul agent does not answer")
    agent.start()
    agent.wait(lambda: bool(agent.services))
    wait_for_message(caplog, "the Consul agent answers again")
    assert len(caplog.messages) == 3


def test_who_is_forgotten_is_registered_again(
    agent: FakeAgent, run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    running = run()
    for _ in range(3):
        agent.wait(lambda: bool(agent.services))
        agent.forget()
    agent.wait(lambda: bool(agent.services))
    running.stop()
    assert caplog.messages == [
        "registered in Consul as storage-svc-one",
        *["registered again in Consul as storage-svc-one"] * 3,
        "deregistered from Consul: storage-svc-one",
    ]


def test_who_is_known_is_not_registered_again(
    agent: FakeAgent, run: Callable[..., Running]
) -> None:
    run()
    agent.wait_for_requests(10)
    assert [method for method, _ in agent.requests].count("PUT") == 1


@pytest.mark.parametrize("failure", [403, 500])
def test_only_changes_are_logged(
    agent: FakeAgent,
    run: Callable[..., Running],
    caplog: pytest.LogCaptureFixture,
    failure: int,
) -> None:
    caplog.set_level("INFO")
    agent.failure = failure
    run()
    agent.wait_for_requests(4)
    agent.failure = 0
    wait_for_message(caplog, "the Consul agent answers again")
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "INFO"]


def test_the_token_is_sent_and_never_logged(
    agent: FakeAgent, run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    running = run(consul_token="TOKEN")
    agent.wait_for_requests(3)
    running.stop()
    assert agent.tokens == {"TOKEN"}
    assert "TOKEN" not in caplog.text


def wait_for_message(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until a message that holds this text was logged."""
    deadline = time.monotonic() + 10
    while not any(text in message for message in caplog.messages):
        assert time.monotonic() < deadline, caplog.messages
        time.sleep(0.01)


# The end


def test_a_gateway_that_stops_is_deregistered(
    agent: FakeAgent, run: Callable[..., Running]
) -> None:
    running = run()
    agent.wait(lambda: bool(agent.services))
    running.stop()
    assert agent.services == {}
    path = "/v1/agent/service/deregister/storage-svc-one"
    assert agent.requests[-1] == ("PUT", path)


def test_what_may_have_been_registered_is_deregistered(
    agent: FakeAgent, run: Callable[..., Running]
) -> None:
    agent.failure = 500
    running = run()
    agent.wait(lambda: bool(agent.services))
    running.stop()
    assert agent.services == {}


def test_an_agent_that_is_down_keeps_no_gateway_from_stopping(
    agent: FakeAgent, run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    running = run()
    agent.wait(lambda: bool(agent.services))
    agent.stop()
    running.stop()
    assert caplog.messages[-1] == (
        "not deregistered from Consul: The Consul agent does not answer"
    )


def test_of_two_gateways_one_stays(
    agent: FakeAgent, run: Callable[..., Running]
) -> None:
    first = run(instance_id="one")
    run(instance_id="two")
    agent.wait(lambda: len(agent.services) == 2)
    first.stop()
    assert list(agent.services) == ["storage-svc-two"]


def test_an_answer_that_is_no_success_is_a_failure() -> None:
    class Refusing:
        class agent:  # noqa: N801
            class service:  # noqa: N801
                register = staticmethod(lambda *_, **__: False)

    service = Service("id", "name", "", 1, (), "http://x/", 1.0, 1.0)
    with pytest.raises(ValueError, match="did not register"):
        register(Refusing, service)


# The port


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_is_waited_for(host: str) -> None:
    port, stopping = free_port(), threading.Event()
    waiting = threading.Thread(target=wait_for_port, args=(host, port, stopping))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    with socket.create_server(("127.0.0.1", port)):
        waiting.join(10)
        assert not waiting.is_alive()


def test_a_port_is_not_waited_for_once_told_to_stop() -> None:
    port, stopping = free_port(), threading.Event()
    stopping.set()
    waiting = threading.Thread(target=wait_for_port, args=("0.0.0.0", port, stopping))
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()


# The process


@pytest.fixture
def child(agent: FakeAgent) -> Iterator[subprocess.Popen[bytes]]:
    """The process that registers a gateway, whose port is this test's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = {
            "HOST": "127.0.0.1",
            "PORT": str(listener.getsockname()[1]),
            "CONSUL_ADDRESS": agent.address,
        }
        child = subprocess.Popen(
            [*REGISTRATION],
            cwd=PROJECT,
            env=environ,
            stdin=subprocess.PIPE,
        )
        with child:
            try:
                agent.wait(lambda: bool(agent.services))
                yield child
            finally:
                child.kill()


def test_the_process_ends_with_its_server(
    agent: FakeAgent, child: subprocess.Popen[bytes]
) -> None:
    assert child.stdin
    child.stdin.close()
    assert child.wait(10) == 0
    assert agent.services == {}


def test_the_process_ends_when_it_is_told_and_not_by_signals(
    agent: FakeAgent, child: subprocess.Popen[bytes]
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        child.send_signal(number)
    assert child.stdin
    child.stdin.write(b"x")
    child.stdin.flush()
    assert child.wait(10) == 0
    assert agent.services == {}


# Who starts it


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """What reaches the handler of SIGTERM that a server had before."""
    heard: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


def program(folder: Path, text: str) -> list[str]:
    """Return a program in the place of the one that registers."""
    path = folder / "program.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def test_a_server_that_is_told_to_stop_passes_it_on_at_once(
    tmp_path: Path, handlers: list[int]
) -> None:
    told = tmp_path / "told"
    code = f"import sys; open({str(told)!r}, 'wb').write(sys.stdin.buffer.read(1))"
    registrar = Registrar(program(tmp_path, code))
    os.kill(os.getpid(), signal.SIGTERM)
    registrar.close()
    assert handlers == [signal.SIGTERM]
    assert told.read_bytes() == b"x"
    registrar.close()


def test_a_process_that_is_stuck_does_not_delay_the_end(
    tmp_path: Path, handlers: list[int]
) -> None:
    registrar = Registrar(program(tmp_path, "import time; time.sleep(60)"))
    start = time.monotonic()
    registrar.close()
    assert time.monotonic() - start < DEREGISTER_SECONDS + 1


def test_a_process_that_has_died_does_not_matter(
    tmp_path: Path, handlers: list[int]
) -> None:
    registrar = Registrar(program(tmp_path, ""))
    registrar.close()
    os.kill(os.getpid(), signal.SIGTERM)
    assert handlers == [signal.SIGTERM]


def test_a_worker_tells_nobody(tmp_path: Path, handlers: list[int]) -> None:
    code = "import sys; sys.exit(len(sys.stdin.buffer.read(1)))"
    registrar = Registrar(program(tmp_path, code))
    worker = os.fork()
    if not worker:
        registrar.request_stop()
        registrar.close()
        os._exit(0)
    assert os.waitpid(worker, 0)[1] == 0
    assert registrar.is_running
    registrar.close()


def test_without_the_library_the_start_ends_with_one_sentence(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['consul'] = None; sys.argv[1:] = ['wsgi:app']; "
        "from gunicorn.app.wsgiapp import run; run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "DISCOVERY": "folders",
            "DATA_DIR": str(tmp_path),
            "CONSUL_ENABLED": "true",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode
    says = "Settings: CONSUL_ENABLED: no py-consul here: pip install '.[consul]'"
    assert done.stderr.splitlines()[-1] == says
