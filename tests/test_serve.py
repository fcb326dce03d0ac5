"""Choosing a server, and what it is told that can be seen without one.

The rest needs processes: test_start.py, test_matrix.py, test_server.py.
"""

from __future__ import annotations

import socket

import pytest

from serve import free_address, limit_silence


def test_a_name_is_turned_into_an_address() -> None:
    assert free_address("localhost", 0) in ("127.0.0.1", "::1")
    assert free_address("0.0.0.0", 0) == "0.0.0.0"


def test_an_address_that_is_not_here_ends_the_start() -> None:
    with pytest.raises(SystemExit, match=r"^Settings: can't listen on 192\.0\.2\.1"):
        free_address("192.0.2.1", 0)


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
