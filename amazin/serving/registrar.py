"""The process that keeps this gateway known to Consul, started and stopped."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from amazin.serving.processes import LAUNCH, STOP_SIGNALS
from amazin.settings.settings import Settings

REGISTRATION = (*LAUNCH, "--register")
DEREGISTER_SECONDS = 2.0
"""From being told to stop: so long an agent that does not answer may delay the end."""


def check_registration(settings: Settings) -> None:
    """End the start if the gateway is to register itself, but can't."""
    if settings.consul_enabled and importlib.util.find_spec("consul") is None:
        hint = "pip install '.[consul]'"
        raise SystemExit(f"Settings: CONSUL_ENABLED: no py-consul here: {hint}")


class Registrar:
    """Has a process of its own keep this gateway known to Consul: one for all workers.

    gunicorn's master must neither import what its workers have yet to patch nor have
    a thread while it forks. The process ends itself when all others are gone.
    """

    def __init__(self, command: Sequence[str] = REGISTRATION) -> None:
        """Begin; told to stop, this process from now on also has it deregister."""
        self._owner = os.getpid()
        self._told_at: float | None = None
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
        for number in STOP_SIGNALS:
            self._listen_to(number)

    def _listen_to(self, number: signal.Signals) -> None:
        handler = signal.getsignal(number)
        if not callable(handler):
            return

        def tell_and_handle(number: int, frame: FrameType | None) -> None:
            self.tell()
            handler(number, frame)

        signal.signal(number, tell_and_handle)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def tell(self) -> None:
        """Have the gateway deregistered, without waiting for it; nothing in a worker.

        Before the workers finish their transfers: nobody is to be sent here any more.
        """
        if os.getpid() != self._owner or self._told_at is not None:
            return
        self._told_at = time.monotonic()
        with suppress(OSError):  # it is gone
            os.write(self._process.stdin.fileno(), b"x")  # type: ignore[union-attr]

    def stop(self) -> None:
        """Wait until the gateway is deregistered, but not for long."""
        if os.getpid() != self._owner:
            return
        self.tell()
        deadline = (self._told_at or 0.0) + DEREGISTER_SECONDS
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]
