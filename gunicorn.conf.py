"""The server settings for `gunicorn wsgi:app`: gunicorn reads this file by itself."""

from amazin.serving.gunicorn_config import *  # noqa: F403
