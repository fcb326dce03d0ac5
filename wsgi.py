"""Put together from the environment's settings: `gunicorn wsgi:app`."""

import logging.config
import os

from api import Services, objects, operations
from api.bodies import SpoolRoom
from cluster import Cluster
from discovery import load_discovery
from gateway import Gateway
from logs import logging_config
from membership import Membership
from nodes.build import node_builder
from settings import Settings

settings = Settings.from_environ(os.environ)
level = "debug" if settings.log_debug else settings.log_level
logging.config.dictConfig(logging_config(level))
membership = Membership(
    load_discovery(settings), node_builder(settings), settings.refresh_seconds
)
services = Services(
    Cluster(membership),
    settings,
    SpoolRoom(settings.spool_dir, settings.spool_bytes),
)
app = Gateway([*objects.ROUTES, *operations.ROUTES], services)
