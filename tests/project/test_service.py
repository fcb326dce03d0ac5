"""The units of systemd in `deploy/`, and the start from files without rights to run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from amazin.settings.load import KNOWN, from_environ
from tests.support.command_process import started
from tests.support.paths import PROJECT
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

DEPLOY = PROJECT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PROGRAM = "/opt/amazin/bin/amazin"


def lines_of(unit: Path) -> list[str]:
    return [line for line in unit.read_text().splitlines() if line[:1] not in ("", "#")]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_against_a_unit(tmp_path: Path, unit: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PROGRAM, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, [])


def test_both_services_are_as_narrow_and_run_as_one_user() -> None:
    gateway, repair = (lines_of(DEPLOY / f"{name}.service") for name in SERVICES)
    narrow = gateway[gateway.index("User=amazin") :]
    assert narrow == repair[repair.index("User=amazin") :]
    assert {
        "DynamicUser=yes",
        "StateDirectory=amazin",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
    } <= {*narrow}
    assert "EnvironmentFile=/etc/amazin/environment" in {*gateway} & {*repair}


SERVICES = ("amazin", "amazin-repair")


def test_the_settings_of_the_services_are_settings_and_closed_to_others() -> None:
    pairs = (line.split("=", 1) for line in lines_of(DEPLOY / "environment"))
    environ: Mapping[str, str] = dict(pairs)
    assert {name.lower() for name in environ} <= KNOWN.keys()
    settings = from_environ(environ)
    assert settings.host == "127.0.0.1"
    assert settings.discovery == "folders"


def test_systemd_is_told_when_the_gateway_listens(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SPOOL_DIR": str(tmp_path),
        "DATA_DIR": str(tmp_path / "data"),
        "NOTIFY_SOCKET": str(tmp_path / "n"),
    }
    with (
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager,
        (tmp_path / "log").open("wb") as log,
    ):
        manager.bind(environ["NOTIFY_SOCKET"])
        manager.settimeout(PATIENCE_SECONDS)
        with started(["serve"], environ, stdout=log, stderr=log) as gateway:
            assert manager.recv(1000).startswith(b"READY=1\n")
            socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS).close()
            gateway.terminate()
        assert gateway.returncode == 0


# Unpacked from a zip by a program that forgets which files can be run


def test_make_run_needs_no_rights_to_run_files(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "scripts", tmp_path / "scripts")
    for name in ("Makefile", "requirements.txt", "setup.cfg"):
        shutil.copyfile(PROJECT / name, tmp_path / name)
    for file in (tmp_path / "scripts").iterdir():
        file.chmod(0o644)
    program = tmp_path / "venv" / "bin" / "amazin"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$DISCOVERY: $*"\n')
    program.chmod(0o755)
    (tmp_path / "venv" / "run").touch()
    done = subprocess.run(
        ["make", "-s", "run", "VENV=venv"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "DISCOVERY": "dns"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("dns: serve\n", "")


def test_no_recipe_runs_a_script_by_itself() -> None:
    for line in (PROJECT / "Makefile").read_text().splitlines():
        words = line.strip().removeprefix("@").split()
        at = [place for place, word in enumerate(words) if word.startswith("scripts/")]
        if line.startswith("\t") and at:
            assert words[at[0] - 1] in ("sh", "bash"), line


def test_images_make_their_entry_points_executable() -> None:
    for folder, script in ((".", "docker-entrypoint.sh"), ("node", "entrypoint.sh")):
        recipe = (PROJECT / folder / "Dockerfile").read_text()
        assert any(
            "chmod 755" in line and f"/usr/local/bin/{script}" in line
            for line in recipe.splitlines()
        ), folder
