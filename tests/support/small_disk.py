"""A small disk that can be full, for tests; mounting it takes root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a disk of this size on a folder, which is made; else skip the test."""
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid():
        pytest.skip("mounting a small disk needs root")
    size = f"size={mebibytes}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Mount a folder on itself so that nobody can write to it; else skip the test."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    if subprocess.run(
        ["mount", "--bind", str(path), str(path)], capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        remount = ["mount", "-o", "remount,bind,ro", str(path)]
        subprocess.run(remount, check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
