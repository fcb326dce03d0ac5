"""Starts and stops the process that registers this gateway with Consul."""

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
"""How long an agent that does not answer may delay a stop, from the signal on."""


def check_registration(settings: Settings) -> None:
    """Exit if the gateway should be registered, but the library is missing."""
    if settings.consul_enabled and importlib.util.find_spec("consul") is None:
        hint = "pip install '.[consul]'"
        raise SystemExit(f"Settings: CONSUL_ENABLED: no py-consul here: {hint}")


class Registrar:
    """Runs a separate process that registers this gateway with Consul, for all workers.

    gunicorn's master must not import modules that its workers have to patch, and must
    have no thread while it forks. The separate process ends by itself when all others
    are gone.
    """

    def __init__(self, command: Sequence[str] = REGISTRATION) -> None:
        """Start the process; stop signals to this one now deregister the gateway."""
        self._owner = os.getpid()
        self._requested_at: float | None = None
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
        for number in STOP_SIGNALS:
            self._wrap_handler(number)

    def _wrap_handler(self, number: signal.Signals) -> None:
        handler = signal.getsignal(number)
        if not callable(handler):
            return

        def deregister_and_handle(number: int, frame: FrameType | None) -> None:
            self.request_stop()
            handler(number, frame)

        signal.signal(number, deregister_and_handle)

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def request_stop(self) -> None:
        """Request the deregistration, without waiting for it; does nothing in a worker.

        This happens before the workers finish their transfers, so that no new clients
        come.
        """
        if os.getpid() != self._owner or self._requested_at is not None:
            return
        self._requested_at = time.monotonic()
        with suppress(OSError):  # the process has ended
            os.write(self._process.stdin.fileno(), b"x")  # type: ignore[union-attr]

    def close(self) -> None:
        """Wait until the gateway is deregistered, for `DEREGISTER_SECONDS` at most."""
        if os.getpid() != self._owner:
            return
        self.request_stop()
        deadline = (self._requested_at or 0.0) + DEREGISTER_SECONDS
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]
