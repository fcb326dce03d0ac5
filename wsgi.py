"""Put together from the settings: `gunicorn wsgi:app`."""

import logging.config
import os

from api import Services
from api.bodies import SpoolRoom
from api.metadata import require_fit
from api.routes import all_routes
from changes import Wishes
from chunked import ChunkedCluster
from config_file import load_settings
from discovery import load_discovery
from errors import SettingsError
from gateway import Gateway
from logs import logging_config
from membership import Membership
from nodes.build import node_builder
from settings import parse_group_weights

try:
    settings = load_settings(os.environ)
    logging.config.dictConfig(logging_config(settings.least_level))
    discovery = load_discovery(settings)
except SettingsError as exc:
    raise SystemExit(f"Settings: {exc}") from None
wishes = Wishes(settings.replicas, parse_group_weights(settings.group_weights))
build = node_builder(settings.node_limits)
membership = Membership(discovery, build, settings.refresh_seconds, wishes)
cluster = ChunkedCluster(membership, settings.chunk_bytes, require_fit)
spool = SpoolRoom(settings.spool_dir, settings.spool_bytes)
app = Gateway(all_routes(settings), Services(cluster, settings, spool))
