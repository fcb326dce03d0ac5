"""The server knobs for `gunicorn wsgi:app`, which reads this file by itself."""

from amazin.serving.gunicorn_config import *  # noqa: F403
