"""What a server looks at once, before it starts, beside its settings: this machine."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from amazin.settings.config_file import reason
from amazin.settings.converters import absolute
from amazin.settings.settings import Settings

ATTEMPTS = 5
"""How often a port is tried that is in use: an earlier server may be about to end."""
PAUSE_SECONDS = 1.0


def check_spool(folder: str) -> None:
    """Exit if no file can be made in `SPOOL_DIR`; it may be full now."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            text = f"{absolute(folder)} can't be used: {reason(exc)}"
            raise SystemExit(f"Settings: SPOOL_DIR: {text}") from None


def check_addresses(server: Any, bind: str) -> None:
    """Exit if gunicorn's server can't listen; `bind` is made of `HOST` and `PORT`.

    Sockets that are inherited are not looked at.
    """
    is_inherited = "GUNICORN_PID" in os.environ or "LISTEN_PID" in os.environ
    if is_inherited or server.cfg.reuse_port:
        return
    is_ours = server.cfg.bind == [bind]
    for address in server.cfg.address:
        if isinstance(address, tuple):
            check_address(*address, is_ours=is_ours)


def try_address(host: str, port: int) -> None:
    """Bind a socket as gunicorn would, and close it. Raises: OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.bind((host, port))


def check_address(
    host: str,
    port: int,
    *,
    is_ours: bool = True,
    attempt_once: Callable[[str, int], None] = try_address,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Exit if nothing can listen there; `is_ours`: it comes from `HOST` and `PORT`."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            attempt_once(host, port)
            return
        except OSError as exc:
            name, sentence = _explain(exc, host, port)
            if exc.errno != errno.EADDRINUSE or attempt == ATTEMPTS:
                prefix = f"{name}: " if is_ours else ""
                raise SystemExit(f"Settings: {prefix}{sentence}") from None
        pause(PAUSE_SECONDS)


def _explain(error: OSError, host: str, port: int) -> tuple[str, str]:
    """Return the setting that is wrong, and what is wrong with it."""
    if isinstance(error, socket.gaierror):
        return "HOST", f"{host!r} is no name with an IPv4 address: {reason(error)}"
    if error.errno == errno.EADDRNOTAVAIL:
        return "HOST", f"{host!r} is no address of this machine"
    if error.errno == errno.EAFNOSUPPORT:
        return "HOST", f"{host!r} can't be used: this machine has no IPv6"
    if error.errno == errno.EADDRINUSE:
        return "PORT", f"another program listens on port {port} of {host}"
    if error.errno == errno.EACCES:
        return "PORT", f"{port} takes more rights: it is a port for root"
    return "HOST", f"can't listen on port {port} of {host}: {reason(error)}"


def open_access(settings: Settings, addresses: Iterable[Any]) -> str:
    """Return what `ACCESS=open` means for those who can reach these addresses.

    Addresses are those of gunicorn: (host, port), or others that only this machine
    has. Return "" if access is signed, or if nobody expects that it is: only this
    machine reaches them, and there are no tokens.
    """
    if settings.access != "open":
        return ""
    pairs = [address for address in addresses if isinstance(address, tuple)]
    ports = [f"{port}" for host, port in pairs if not is_loopback(host)]
    sentences = []
    if settings.api_tokens:
        sentences.append("nobody is asked for one of API_TOKENS")
    if ports:
        sentences.append(
            f"whoever reaches port {' or '.join(ports)} of this machine may read, "
            "overwrite and delete everything; ACCESS=signed asks for a token, an "
            "address as 127.0.0.1 lets nobody else in"
        )
    return f"ACCESS=open: {'; '.join(sentences)}" if sentences else ""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; names: only `localhost`."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    return host.lower() == "localhost"
