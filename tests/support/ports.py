"""Ports of loopback for servers of tests."""

from __future__ import annotations

import random
import socket

_CHANCE = random.SystemRandom()
"""Not the seeded one, by which runs beside each other would try the same ports."""


def free_port() -> int:
    """Return a port that nobody uses, below those that outgoing connections take."""
    while True:
        port = _CHANCE.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
