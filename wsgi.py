"""Builds the gateway from the settings and exports it: `gunicorn wsgi:app`."""

import os
import sys
from pathlib import Path

# gunicorn searches the current folder first: a user's file there must not hide a module
# of ours, or of a library, that has the same name.
if Path.cwd() != Path(__file__).resolve().parent:
    sys.path.append(str(Path(__file__).parent))
    sys.path.sort(key=lambda folder: Path(folder).resolve() == Path.cwd())

import logging.config

from amazin.api.routes import all_routes
from amazin.api.services import Services
from amazin.cluster.cluster import Cluster
from amazin.errors import SettingsError
from amazin.logs import logging_config
from amazin.membership.membership import Membership
from amazin.membership.transitions import DesiredNodes
from amazin.metrics.slots import FOLDER, SLOT
from amazin.nodes.build import node_builder
from amazin.settings.config_file import load_settings
from amazin.web.access import Access
from amazin.web.spool import SpoolRoom
from discovery import load_discovery
from gateway import Gateway

try:
    settings = load_settings(os.environ)
    logging.config.dictConfig(logging_config(settings.least_level))
    routes = all_routes(settings)
    discovery = load_discovery(settings)
    access = Access(settings)
except SettingsError as exc:
    raise SystemExit(f"Settings: {exc}") from None
desired = DesiredNodes(settings.replicas, settings.group_weights)
metrics = None
if settings.metrics:
    # Without metrics their library is not even imported.
    from amazin.metrics.metrics import Metrics

    metrics = Metrics(os.environ.get(SLOT, ""), os.environ.get(FOLDER, ""))
build = node_builder(settings.node_limits, metrics.node if metrics else None)
membership = Membership(discovery, build, settings.refresh_seconds, desired)
cluster = Cluster(membership)
spool = SpoolRoom(settings.spool_dir, settings.spool_bytes)
services = Services(cluster, settings, spool, access, metrics)
app = Gateway(routes, services, access, metrics.requests if metrics else None)
