"""Files of the user's own that are named like modules of ours or of libraries."""

from __future__ import annotations

from pathlib import Path

OURS = ("cli", "discovery", "errors", "gateway", "hashing", "nodes", "settings")
"""Modules of ours, and rooms of the package."""
LIBRARIES = (
    *("click", "consul", "dns", "docker", "minio", "requests", "urllib3", "xxhash"),
    "yaml",
)
SERVER = ("gevent", "greenlet", "gunicorn", "packaging")
OPTIONAL = ("brotli", "chardet", "h2", "simplejson", "socks", "zstandard")
"""What libraries import if it is there."""
PLAIN_GUNICORN = (*OURS, *LIBRARIES, *OPTIONAL, "amazin")
"""What is safe even where gunicorn itself has put the folder first."""
EVERYTHING = (*PLAIN_GUNICORN, *SERVER, "json", "logging", "rich", "wsgi")


def plant(folder: Path, *names: str) -> None:
    """Make files that nobody may import."""
    for name in names:
        text = f"raise SystemExit('the user\\'s file {name}.py was imported')\n"
        (folder / f"{name}.py").write_text(text)
