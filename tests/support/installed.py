"""The product as `pip install .` installs it, in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.paths import PROJECT

PACKAGE_FOLDER = "amazin"
PATIENCE_SECONDS = 300.0
METADATA = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def build_wheel(source: Path, target: Path) -> Path:
    """Build a wheel of what belongs to the product, copied to `source`; no network."""
    shutil.copytree(
        PROJECT / PACKAGE_FOLDER,
        source / PACKAGE_FOLDER,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    files = [*PROJECT.glob("*.py"), *(PROJECT / name for name in METADATA)]
    for file in files:
        shutil.copy(file, source)
    pip("wheel", "-q", "--no-build-isolation", "-w", str(target), str(source))
    return next(target.glob("*.whl"))


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new environment; returns the folder of its programs.

    Dependencies are those of the tests.
    """
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, timeout=PATIENCE_SECONDS, check=True)
    python = str(folder / "bin" / "python")
    pip("install", "-q", str(wheel), python=python)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run(
        [python, "-c", where],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    ).stdout.strip()
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (Path(packages) / "dependencies.pth").write_text("\n".join(sorted(paths)))
    return folder / "bin"


def pip(*arguments: str, python: str = sys.executable) -> None:
    """Run pip for an environment, without any network."""
    command = [sys.executable, "-m", "pip", "--python", python, *arguments]
    options = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def environ(programs: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a program that is installed, with these settings."""
    return {"PATH": f"{programs}:/usr/bin:/bin", **settings}
