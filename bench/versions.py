"""The versions of what is compared, as far as it is here."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from importlib import metadata

from bench import programs
from bench.nodes import find_minio

ANSWER_SECONDS = 30.0
PACKAGES = ("gunicorn", "gevent")
_VERSION = re.compile(r"RELEASE\.[0-9TZ-]+|DEVELOPMENT\.\w+|[0-9]+\.[0-9]+[0-9.]*")


def versions() -> dict[str, str]:
    """Return the versions of the node, the proxies and our servers, by name."""
    found = {"minio": said([find_minio(), "--version"])}
    for name in ("nginx", "haproxy"):
        if path := programs.find_program(name):
            found[name] = said([path, "-v"])
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def said(command: Sequence[str]) -> str:
    """Return the version that a program says it has; else what it says first."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS
    )
    text = (done.stdout + done.stderr).partition("\n")[0]
    match = _VERSION.search(text.partition("version")[2])
    return match[0] if match else text
