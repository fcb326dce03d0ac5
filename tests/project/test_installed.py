"""What is installed by `pip install .`, and what is copied into the image."""

from __future__ import annotations

import ast
import configparser
import email
import http.client
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from amazin.cli.main import COMMANDS
from amazin.release import PACKAGE, release
from tests.support.gateway_process import ask
from tests.support.installed import METADATA, PACKAGE_FOLDER, environ
from tests.support.paths import PROJECT
from tests.support.ports import free_port

PATIENCE_SECONDS = 30.0
LIBRARY = PROJECT / PACKAGE_FOLDER / "client" / "__init__.py"
"""What programs import: the one that has names."""
DATA = ("amazin/api/docs.html", "amazin/api/openapi.yaml", "amazin/py.typed")


def own_modules() -> list[str]:
    return sorted({path.stem for path in PROJECT.glob("*.py")} - {"gunicorn.conf"})


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PROJECT / "setup.cfg")
    return parser


# What is listed


def test_every_module_is_listed() -> None:
    assert setup()["options"]["py_modules"].split() == own_modules()


def test_every_folder_of_the_package_is_one_and_has_no_code_of_its_own() -> None:
    for file in (PROJECT / PACKAGE_FOLDER).rglob("*.py"):
        initial = file.with_name("__init__.py")
        if initial != LIBRARY:
            assert initial.read_text() == "", initial


def test_the_library_for_programs_lists_its_names_and_has_no_code_either() -> None:
    docstring, *imports, names = ast.parse(LIBRARY.read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(one, ast.ImportFrom) for one in imports)
    assert isinstance(names, ast.Assign)
    imported = [alias.name for one in imports for alias in getattr(one, "names", ())]
    assert sorted(imported) == ast.literal_eval(names.value)
    assert [ast.unparse(target) for target in names.targets] == ["__all__"]


def test_no_name_is_that_of_a_module_of_python_or_of_a_dependency() -> None:
    ours = {*own_modules(), PACKAGE_FOLDER}
    assert ours.isdisjoint(sys.stdlib_module_names)
    theirs = {
        name: distributions
        for name, distributions in importlib.metadata.packages_distributions().items()
        if set(distributions) != {PACKAGE}
    }
    assert ours.isdisjoint(theirs)


def test_every_dependency_is_named_and_each_has_its_reason() -> None:
    text = (PROJECT / "setup.cfg").read_text()
    names = re.findall(r"^([a-z0-9-]+)", setup()["options"]["install_requires"], re.M)
    reasons = text.partition("# Each dependency")[2].partition("install_requires")[0]
    assert re.findall(r"^#   ([a-z0-9-]+) ", reasons, re.M) == names


def test_all_that_runs_goes_into_the_image() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    copied = re.findall("^COPY ([^-. ].*) ", (PROJECT / "Dockerfile").read_text(), re.M)
    copied = [name for name in copied if not name.endswith(".py")]
    assert {f"!{name}" for name in ("*.py", PACKAGE_FOLDER, *METADATA, *copied)} == {
        line for line in lines if line.startswith("!")
    }
    assert lines.index("*") < min(i for i, line in enumerate(lines) if line[0] == "!")


# Installed from a wheel


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder in which there is nothing."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def run(
    programs: Path, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed command, from a folder."""
    return subprocess.run(
        [programs / "amazin", *arguments],
        cwd=folder,
        env=environ(programs),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@contextmanager
def serving(
    command: Sequence[str], folder: Path, settings: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Let a server run meanwhile; in the end it stops as it is told to."""
    log = folder.parent / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=folder, env=settings, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()


def wait_for(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if ask(port, "GET", path).status == 200:
                return
        except (OSError, http.client.HTTPException):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_wheel_has_all_that_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {f"{name}.py" for name in own_modules()}
    files = (PROJECT / PACKAGE_FOLDER).rglob("*.py")
    ours |= {str(file.relative_to(PROJECT)) for file in files}
    ours.update(DATA)
    assert {name for name in names if ".dist-info/" not in name} == ours


def test_the_wheel_takes_no_other_name_and_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [about] = {Path(name).parts[0] for name in archive.namelist()} - {
            PACKAGE_FOLDER,
            *(f"{name}.py" for name in own_modules()),
        }
        metadata = archive.read(f"{about}/METADATA").decode()
        tops = archive.read(f"{about}/top_level.txt").decode().split()
    assert tops == sorted([PACKAGE_FOLDER, *own_modules()])
    said = email.message_from_string(metadata)
    assert (said["Name"], said["Version"]) == (PACKAGE, release())
    wanted = [line for line in said.get_all("Requires-Dist", []) if "extra" not in line]
    asked = setup()["options"]["install_requires"].split()
    assert {re.split("[<>=]", line)[0] for line in wanted} == {
        re.split("[<>=]", line)[0] for line in asked
    }


@pytest.mark.slow
def test_the_command_runs_from_anywhere(programs: Path, empty: Path) -> None:
    done = run(programs, empty, "version", "--json")
    shown = json.loads(done.stdout)
    assert shown["version"] == release()
    assert Path(shown["folder"]).is_relative_to(programs.parent)
    done = run(programs, empty, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
        helped = run(programs, empty, name, "--help")
        assert helped.stdout.startswith(f"Usage: amazin {name}"), helped.stderr
    assert run(programs, empty, "config").returncode == 0
    assert run(programs, empty, "completion", "bash").stdout
    assert not list(empty.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("amazin", "serve"), ("python", "-m", "gunicorn", "wsgi:app")]
)
def test_the_gateway_serves_from_an_empty_folder(
    programs: Path, empty: Path, command: tuple[str, ...]
) -> None:
    port = free_port()
    data = empty.parent / "data"
    settings = environ(
        programs,
        DISCOVERY="folders",
        DATA_DIR=str(data),
        HOST="127.0.0.1",
        PORT=str(port),
        WORKERS="1",
    )
    program = [str(programs / command[0]), *command[1:]]
    with serving(program, empty, settings) as process:
        wait_for(port, "/health", process)
        body = os.urandom(100_000)
        assert ask(port, "PUT", "/object/abc", body).status == 201
        assert ask(port, "GET", "/object/abc").body == body
        assert b"/object/{id}" in ask(port, "GET", "/openapi.yaml").body
        assert ask(port, "GET", "/docs").status == 200
        status = subprocess.run(
            [programs / "amazin", "status", "--json", "--count"],
            cwd=empty,
            env=settings,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
        assert json.loads(status.stdout)["total"]["objects"] == 1
    assert not list(empty.iterdir())


@pytest.mark.slow
def test_blobs_are_served_from_an_empty_folder(programs: Path, empty: Path) -> None:
    port, store = free_port(), empty.parent / "blobs"
    command = [str(programs / "amazin"), "blob-server"]
    options = ["-store", str(store), "-port", str(port)]
    with serving([*command, *options], empty, environ(programs)) as process:
        wait_for(port, "/alive", process)
        assert ask(port, "POST", "/blob/abc", b"hello").status == 200
        assert json.loads(ask(port, "GET", "/blobs").body) == ["abc"]
    assert not list(empty.iterdir())
