"""Builds the applications of the blob server and the api-server.

gunicorn calls these functions in each worker:
`amazin.serving.blob_apps:blob_server('/store')`.
"""

from __future__ import annotations

import json
import logging.config
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from amazin.api.blob_server import FolderServices, routes, with_liveness
from amazin.api.blobs import FETCH_ROUTES, SERVER_UPLOAD_ROUTES
from amazin.blobs.folder_store import BlobFolder
from amazin.blobs.server_store import ServerBlobs
from amazin.blobs.sos_conf import SERVERS_VARIABLE, BlobServer
from amazin.errors import SettingsError
from amazin.logs import logging_config
from amazin.settings.config_file import load_settings
from amazin.settings.settings import Settings
from amazin.web.access import Access
from amazin.web.spool import SpoolRoom
from gateway import Gateway


@dataclass(frozen=True)
class ServerServices:
    """The services of the api-server's handlers."""

    blobs: ServerBlobs
    settings: Settings
    spool: SpoolRoom

    def start(self) -> None:
        """See `Served`."""

    def close(self) -> None:
        """See `Served`."""
        self.blobs.close()
        self.spool.close()


class ByPort:
    """Passes each request to the application of the port on which it arrived."""

    def __init__(self, apps: Mapping[int, Gateway]) -> None:
        self._apps = {str(port): app for port, app in apps.items()}

    def close(self) -> None:
        """Close all applications."""
        for app in self._apps.values():
            app.close()

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self._apps[environ["SERVER_PORT"]](environ, start_response)


def blob_server(store: str) -> Gateway:
    """Return the blob server of a folder, which must exist."""
    settings = started_settings()
    try:
        all_routes = routes(settings)
        access = Access(settings)
        blobs = BlobFolder(Path(store))
    except SettingsError as exc:
        raise SystemExit(str(exc)) from None
    services = FolderServices(blobs, settings, spool_of(settings))
    return Gateway(all_routes, services, access)


def api_server(upload_port: int, download_port: int) -> ByPort:
    """Return the api-server for the blob servers in the variable `SERVERS_VARIABLE`."""
    settings = started_settings()
    try:
        uploads = with_liveness(settings, SERVER_UPLOAD_ROUTES)
        downloads = with_liveness(settings, FETCH_ROUTES)
        access = Access(settings)
    except SettingsError as exc:
        raise SystemExit(str(exc)) from None
    known = [BlobServer(*server) for server in json.loads(os.environ[SERVERS_VARIABLE])]
    blobs = ServerBlobs(known, settings.node_limits, settings.replicas)
    services = ServerServices(blobs, settings, spool_of(settings))

    return ByPort(
        {
            upload_port: Gateway(uploads, services, access),
            download_port: Gateway(downloads, services, access),
        }
    )


def started_settings() -> Settings:
    """Load the settings and configure logging; exit if a setting is wrong."""
    try:
        settings = load_settings(os.environ)
    except SettingsError as exc:
        raise SystemExit(f"Settings: {exc}") from None
    logging.config.dictConfig(logging_config(settings.least_level))
    return settings


def spool_of(settings: Settings) -> SpoolRoom:
    """Return the spool with the configured folder and size."""
    return SpoolRoom(settings.spool_dir, settings.spool_bytes)
