"""Which Docker daemon is asked, and how: as the `docker` command chooses it.

`DOCKER_HOST` comes first, then `DOCKER_CONTEXT`, then the current context in
`~/.docker/config.json`, then the usual socket. Source: Docker's documentation, "Docker
contexts" and "Protect the Docker daemon socket".
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from docker.tls import TLSConfig

from amazin.errors import SettingsError
from amazin.logs import without_credentials
from amazin.settings.converters import docker_host
from amazin.settings.settings import Settings

CONFIG = "config.json"
USUAL_SOCKET = "unix:///var/run/docker.sock"
PLAIN_PORT, TLS_PORT = 2375, 2376


@dataclass(frozen=True)
class Endpoint:
    """Where a daemon is reached."""

    url: str = USUAL_SOCKET
    tls: TLSConfig | None = None

    @property
    def is_ssh(self) -> bool:
        """Whether the daemon is reached through `ssh`."""
        return self.url.startswith("ssh://")

    @property
    def socket(self) -> Path | None:
        """The path of the daemon's socket; None: it is reached over the network."""
        scheme, _, path = self.url.partition("://")
        return Path(path) if scheme == "unix" else None

    def __str__(self) -> str:
        return without_credentials(self.url)


def choose_endpoint(settings: Settings, config: Path | None = None) -> Endpoint:
    """Return the endpoint that the settings name.

    `config` is the folder of the `docker` command: by default that in the variable
    `DOCKER_CONFIG`, or else `~/.docker`.

    Raises:
        SettingsError: there is no such context, or the files for TLS are missing.
    """
    usual = os.environ.get("DOCKER_CONFIG") or "~/.docker"
    config = config or _expanded(usual)
    if settings.docker_host:
        return _of_host(settings, config)
    return _of_context(settings.docker_context, config)


def _of_host(settings: Settings, config: Path) -> Endpoint:
    scheme, _, place = settings.docker_host.partition("://")
    if scheme in ("unix", "ssh"):
        return Endpoint(settings.docker_host)
    is_wanted = settings.docker_tls_verify or bool(settings.docker_cert_path)
    is_tls = scheme == "https" or (scheme == "tcp" and is_wanted)
    place = place.removesuffix("/")
    if not re.search(r":[0-9]+$", place):
        place = f"{place}:{TLS_PORT if is_tls else PLAIN_PORT}"
    url = f"{scheme}://{place}"
    if not is_tls:
        return Endpoint(url)
    named = settings.docker_cert_path
    files = _expanded(named) if named else config
    tls = _tls_of(files)
    if named and not tls.ca_cert and not tls.cert:
        raise SettingsError(f"DOCKER_CERT_PATH: {files} has no ca.pem and no cert.pem")
    return Endpoint(url, tls)


def _expanded(path: str) -> Path:
    """Expand `~`, unless nobody knows what it stands for."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises RuntimeError


def _tls_of(folder: Path, is_verified: bool = True) -> TLSConfig:
    """Return the configuration with the files of a folder.

    Without `ca.pem` the daemon is verified with the authorities of the system. Without
    `cert.pem` the gateway doesn't authenticate itself.
    """
    authority, cert, key = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))
    has_cert = _is_readable(cert)
    if has_cert != _is_readable(key):
        missing = key if has_cert else cert
        raise SettingsError(f"DOCKER_CERT_PATH: {missing} is missing")
    return TLSConfig(
        client_cert=(str(cert), str(key)) if has_cert else None,
        ca_cert=str(authority) if _is_readable(authority) else None,
        verify=is_verified,
    )


def _is_readable(path: Path) -> bool:
    """Whether there is such a file. Raises: SettingsError, if it can't be read."""
    try:
        with path.open("rb"):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        text = f"DOCKER_CERT_PATH: {path} can't be read: {exc.strerror}"
        raise SettingsError(text) from exc


def _of_context(name: str, folder: Path) -> Endpoint:
    """Return the endpoint of a context; "": the current one.

    Reads the files itself: the SDK finds no context where `config.json` is missing.
    """
    chosen = name or _current_context(folder)
    if chosen == "default":
        return Endpoint()
    setting = "DOCKER_CONTEXT" if name else f"{folder / CONFIG}: currentContext"
    id_ = hashlib.sha256(chosen.encode()).hexdigest()
    try:
        described = json.loads((folder / f"contexts/meta/{id_}/meta.json").read_text())
        daemon = described["Endpoints"]["docker"]
        url, is_unverified = docker_host(daemon["Host"]), daemon.get("SkipTLSVerify")
    except FileNotFoundError:
        raise SettingsError(
            f"{setting}: the docker command has no context {chosen} in {folder}: "
            "`docker context ls` shows all, DOCKER_HOST names a daemon by its URL"
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as exc:
        text = f"{setting}: the context {chosen} can't be used: {exc}"
        raise SettingsError(text) from exc
    files = folder / f"contexts/tls/{id_}/docker"
    is_tls = files.is_dir() or url.startswith("https://")
    return Endpoint(url, _tls_of(files, not is_unverified) if is_tls else None)


def _current_context(folder: Path) -> str:
    try:
        found = json.loads((folder / CONFIG).read_text()).get("currentContext")
    except OSError:  # not there; or of another user, whose HOME is still set
        return "default"
    except (ValueError, AttributeError) as exc:
        raise SettingsError(f"{folder / CONFIG}: can't be read: {exc}") from exc
    return str(found or "default")
