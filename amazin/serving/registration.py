"""Registers this gateway with Consul and keeps it registered; one process per gateway.

The server starts it as a separate process (`registrar.Registrar`) and ends it through
its standard input. It ignores signals: a terminal or a service manager may send them to
every process at once. The agent itself checks whether the gateway is healthy. API:
https://developer.hashicorp.com/consul/api-docs/agent/service.
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
"""Between two checks whether the agent still knows the gateway."""
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 10.0
"""Between two attempts while the agent fails: doubles each time, up to the maximum."""
FORGET_SECONDS = 600.0
"""The agent forgets a gateway that fails its check for at least this long."""
FORGET_CHECKS = 10
"""And for at least this many checks."""
LISTEN_PAUSE_SECONDS = 0.05

log = logging.getLogger("amazin.consul")


@dataclass(frozen=True)
class Service:
    """The registration of a gateway."""

    id: str
    name: str
    address: str
    """Where clients reach the gateway; "": at the address of the agent's host."""
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
    """Return the registration of this gateway.

    `route` is this host's address on the way to the agent. If the agent is on the same
    host, the address is "", since the agent's own is right, unless the gateway listens
    on a single address only.
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
    """Return this host's address on the way to another host; sends nothing.

    If possible, it is an address that `listens_at` includes: `0.0.0.0` stands for all
    of one family, `::` for all of both.

    Raises: OSError, if there is no route or the name is unknown.
    """
    ways = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    if listens_at == "0.0.0.0":
        ways.sort(key=lambda way: way[0] != socket.AF_INET)
    family, kind, _, _, address = ways[0]
    with socket.socket(family, kind) as sock:
        sock.connect(address)
        return str(sock.getsockname()[0])


class Registration:
    """Registers a gateway, again whenever its agent has forgotten it, until stopped."""

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
        """Run until stopped; then deregister the gateway, if possible."""
        pause = self._first_pause_seconds
        while not self._stopping.is_set():
            try:
                self._check()
            except AGENT_ERRORS as exc:
                self._note(describe(exc))
                self._stopping.wait(pause)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
            else:
                self._note("")
                pause = self._first_pause_seconds
                self._stopping.wait(self._look_seconds)
        self._deregister()

    def _check(self) -> None:
        """Register the gateway, unless the agent knows it.

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
        """Deregister, even if no registration was confirmed: one may have succeeded."""
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
        """Log the agent's problem, and the end of the problem, once each."""
        if problem and problem != self._problem:
            log.warning("the gateway can't be registered: %s", problem)
        elif self._problem and not problem:
            log.info("the Consul agent answers again")
        self._problem = problem


def register(client: Consul, service: Service) -> None:
    """Register a service with the agent, replacing one with the same id.

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
    """Return a duration in Consul's notation."""
    return f"{round(seconds * 1000)}ms"


def wait_for_port(host: str, port: int, stopping: threading.Event) -> None:
    """Return when the port accepts connections, or when stopped."""
    wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    while not stopping.is_set():
        with suppress(OSError):
            socket.create_connection((wildcards.get(host, host), port), 1).close()
            return
        stopping.wait(LISTEN_PAUSE_SECONDS)


def wait_for_stop(stopping: threading.Event) -> None:
    """Wait for a byte from the server or the end of all its processes; then stop."""
    os.read(0, 1)
    stopping.set()


def main() -> None:
    """Keep this gateway registered until the server requests the stop, or ends."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    settings = load_settings(os.environ)
    logging.config.dictConfig(logging_config(settings.least_level))
    stopping = threading.Event()
    threading.Thread(target=wait_for_stop, args=(stopping,), daemon=True).start()
    wait_for_port(settings.host, settings.port, stopping)
    Registration(settings, stopping).run()


if __name__ == "__main__":
    main()
