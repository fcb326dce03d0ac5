"""The server knobs for `gunicorn wsgi:app`, which reads this file by itself."""

from gunicorn_knobs import *  # noqa: F403
