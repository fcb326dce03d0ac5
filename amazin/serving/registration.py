"""Keeps this gateway known to Consul; one process for each gateway.

The server starts it as a process of its own (`registrar.Registrar`) and ends it through
its standard input: signals of a terminal or a service manager, which may reach every
process at once, are not for it. Whether the gateway is healthy the agent finds out by
itself.
API: https://developer.hashicorp.com/consul/api-docs/agent/service.
"""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

from consul import Check, Consul

from amazin.discoveries.consul_agent import (
    AGENT_ERRORS,
    Connect,
    bracketed,
    connect_agent,
    describe,
    disconnect,
    split_address,
)
from amazin.logs import logging_config
from amazin.settings.config_file import load_settings
from amazin.settings.settings import Settings

LOOK_SECONDS = 5.0
"""Between two looks whether the agent still knows the gateway."""
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 10.0
"""Between two attempts while the agent fails: doubled each time, up to the last."""
FORGET_SECONDS = 600.0
"""A gateway that fails its check for so long is forgotten by the agent; at least."""
FORGET_CHECKS = 10
"""The same, in checks."""
LISTEN_PAUSE_SECONDS = 0.05

log = logging.getLogger("amazin.consul")


@dataclass(frozen=True)
class Service:
    """What is registered."""

    id: str
    name: str
    address: str
    """Where clients reach the gateway; empty: at the address of the agent's host."""
    port: int
    tags: tuple[str, ...]
    check_url: str
    check_interval: float
    """In seconds."""
    check_timeout: float
    """In seconds."""

    @property
    def forget_seconds(self) -> float:
        """How long the check may fail before the agent forgets the service."""
        return max(FORGET_SECONDS, FORGET_CHECKS * self.check_interval)


def describe_gateway(settings: Settings, host_name: str, route: str) -> Service:
    """Return what to register of this gateway.

    `route` is this host's address on the way to the agent. An agent on the same host
    is told no address, unless the gateway only listens on that: the agent's is right.
    """
    if settings.host == "0.0.0.0" and is_loopback(route):  # not ::1
        route = "127.0.0.1"
    address = settings.consul_service_address
    if not address and settings.host not in ("0.0.0.0", "::"):
        address = settings.host
    if not address and not is_loopback(route):
        address = route
    shown = bracketed(address or route)
    path = settings.consul_health_check_path or settings.health_path
    own_id = settings.instance_id or f"{host_name}-{settings.port}"
    return Service(
        settings.consul_service_id_prefix + own_id,
        settings.consul_service_name,
        address,
        settings.port,
        settings.consul_service_tags,
        f"http://{shown}:{settings.port}{path}",
        settings.consul_health_check_interval,
        settings.consul_health_check_timeout,
    )


def is_loopback(address: str) -> bool:
    """Whether only this host can reach that address."""
    return address == "::1" or address.startswith("127.")


def route_to(host: str, port: int, listens_at: str) -> str:
    """Return this host's address on the way to another; sends nothing.

    It is one that is listened on, if there is such a way: all addresses that
    `listens_at` stands for are of one family, or of both (`::`).

    Raises: OSError, if there is no way or the name is unknown.
    """
    ways = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    if listens_at == "0.0.0.0":
        ways.sort(key=lambda way: way[0] != socket.AF_INET)
    family, kind, _, _, address = ways[0]
    with socket.socket(family, kind) as sock:
        sock.connect(address)
        return str(sock.getsockname()[0])


class Registration:
    """Registers a gateway as often as its agent forgets it, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        stopping: threading.Event,
        *,
        connect: Connect = connect_agent,
        look_seconds: float = LOOK_SECONDS,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._connect = connect
        self._look_seconds = look_seconds
        self._first_pause_seconds = first_pause_seconds
        self._client: Consul | None = None
        self._service: Service | None = None
        self._is_done = False
        self._problem = ""

    def run(self) -> None:
        """Return when told to stop, with the gateway deregistered if possible."""
        pause = self._first_pause_seconds
        while not self._stopping.is_set():
            try:
                self._look()
            except AGENT_ERRORS as exc:
                self._note(describe(exc))
                self._stopping.wait(pause)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
            else:
                self._note("")
                pause = self._first_pause_seconds
                self._stopping.wait(self._look_seconds)
        self._deregister()

    def _look(self) -> None:
        """Register the gateway if that was not done, or is forgotten.

        Raises: one of AGENT_ERRORS.
        """
        client = self._current_client()
        if self._service is None:
            host, port = split_address(self._settings.consul_address)[1:]
            route = route_to(host, port, self._settings.host)
            own_name = socket.gethostname()
            self._service = describe_gateway(self._settings, own_name, route)
        service = self._service
        if self._is_done and client.agent.service_definition(service.id) is not None:
            return
        register(client, service)
        how = "registered again" if self._is_done else "registered"
        self._is_done = True
        log.info("%s in Consul as %s", how, service.id)

    def _deregister(self) -> None:
        """Also if it never was registered for sure: an attempt may have got through."""
        if self._client is None:
            return
        try:
            if self._service is not None:
                self._client.agent.service.deregister(self._service.id)
                log.info("deregistered from Consul: %s", self._service.id)
        except AGENT_ERRORS as exc:
            log.warning("not deregistered from Consul: %s", describe(exc))
        finally:
            disconnect(self._client)

    def _current_client(self) -> Consul:
        if self._client is None:
            settings = self._settings
            self._client = self._connect(settings.consul_address, settings.consul_token)
        return self._client

    def _note(self, problem: str) -> None:
        """Log that the agent fails, why, and that it no longer does; once each."""
        if problem and problem != self._problem:
            log.warning("the gateway can't be registered: %s", problem)
        elif self._problem and not problem:
            log.info("the Consul agent answers again")
        self._problem = problem


def register(client: Consul, service: Service) -> None:
    """Make a service known to the agent, in the place of one with the same id.

    Raises: one of AGENT_ERRORS.
    """
    check = Check.http(
        service.check_url,
        milliseconds(service.check_interval),
        milliseconds(service.check_timeout),
        milliseconds(service.forget_seconds),
    )
    is_done = client.agent.service.register(
        service.name,
        service_id=service.id,
        address=service.address,
        port=service.port,
        tags=list(service.tags),
        check=check,
        replace_existing_checks=True,
    )
    if not is_done:
        raise ValueError("the agent did not register the service")


def milliseconds(seconds: float) -> str:
    """Return a duration as Consul reads it."""
    return f"{round(seconds * 1000)}ms"


def wait_for_port(host: str, port: int, stopping: threading.Event) -> None:
    """Return when somebody listens there, or when told to stop."""
    wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    while not stopping.is_set():
        with suppress(OSError):
            socket.create_connection((wildcards.get(host, host), port), 1).close()
            return
        stopping.wait(LISTEN_PAUSE_SECONDS)


def obey(stopping: threading.Event) -> None:
    """Wait for a byte from the server, or for the end of all its processes."""
    os.read(0, 1)
    stopping.set()


def main() -> None:
    """Keep this gateway known until the server says, or is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    settings = load_settings(os.environ)
    logging.config.dictConfig(logging_config(settings.least_level))
    stopping = threading.Event()
    threading.Thread(target=obey, args=(stopping,), daemon=True).start()
    wait_for_port(settings.host, settings.port, stopping)
    Registration(settings, stopping).run()


if __name__ == "__main__":
    main()
