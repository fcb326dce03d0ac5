"""Choosing a server, and what it is told that can be seen without one.

The rest needs processes: test_start.py, test_matrix.py, test_server.py.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from amazin.serving.limits import STOP_SIGNALS
from amazin.serving.start import Reminder, free_address, limit_silence, repeat_signals
from tests.support.paths import PROJECT


def test_a_name_is_turned_into_an_address() -> None:
    assert free_address("localhost", 0) in ("127.0.0.1", "::1")
    assert free_address("0.0.0.0", 0) == "0.0.0.0"


def test_an_address_that_is_not_here_ends_the_start() -> None:
    with pytest.raises(SystemExit, match=r"^Settings: can't listen on 192\.0\.2\.1"):
        free_address("192.0.2.1", 0)


def test_who_was_told_to_stop_is_not_kept_waiting() -> None:
    server = SimpleNamespace(interrupt_signal=False)
    reminder = Reminder(server)

    def interrupt(*_: object) -> None:
        server.interrupt_signal = True
        reminder.set()

    reminder.set()
    assert reminder.wait()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        while not server.interrupt_signal:  # the signal comes while this is cleared
            reminder.clear()
        reminder.clear()
        assert reminder.wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_the_waiting() -> None:
    reminder = Reminder(SimpleNamespace(interrupt_signal=False))
    before = signal.signal(signal.SIGALRM, lambda *_: reminder.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert reminder.wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_worker_is_told_again_until_it_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    is_stopping, sent = threading.Event(), list[tuple[int, int]]()

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        if len(sent) == 2:
            is_stopping.set()

    monkeypatch.setattr(os, "kill", kill)
    os.write(writer, bytes([signal.SIGHUP, signal.SIGTERM]))
    repeat_signals(reader, is_stopping)
    assert sent == [(os.getpid(), signal.SIGTERM)] * 2
    os.write(writer, bytes([signal.SIGINT]))
    repeat_signals(reader, is_stopping)
    assert len(sent) == 2
    os.close(reader)
    os.close(writer)


FORKING_MASTER = """
import os, signal, sys, time
from amazin.serving.limits import end_forks_when_told

number = int(sys.argv[1])
signal.signal(number, lambda *_: None)
end_forks_when_told()
for _ in range(20):
    if (child := os.fork()) == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(child, number)  # as a rule before it runs
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status))
os.kill(os.getpid(), number)
print("goes on")
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_worker_that_is_told_to_stop_before_it_runs_ends(
    number: signal.Signals,
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FORKING_MASTER, str(int(number))],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.stdout.split("\n") == [str(int(number))] * 20 + ["goes on", ""]


def test_connections_to_silent_clients_are_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert limit_silence(250) >= 1
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            assert not client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        with server:
            assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            tcp = socket.IPPROTO_TCP
            assert server.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 250_000
            assert server.getsockopt(tcp, socket.TCP_KEEPIDLE) == 50
