"""A folder of the user's own files, whatever they are called: whose is imported.

Ours where ours is meant, theirs in their own programs and where DISCOVERY names it.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.gateway_process import ServerProcess
from tests.support.installed import environ
from tests.support.planted import EVERYTHING, OURS, PLAIN_GUNICORN, plant
from tests.support.ports import free_port

GUNICORN = Path(sysconfig.get_path("scripts")) / "gunicorn"
OWN_DISCOVERY = """\
import disks
import yaml  # the library

from amazin.errors import DiscoveryError
from amazin.model.node_specs import NodeSpec


class Mine:
    def __init__(self, settings):
        self._names = disks.NAMES

    def find(self):
        if not disks.FOLDER.is_dir():
            raise DiscoveryError("no disks")
        return [NodeSpec(name, (disks.FOLDER / name).as_uri()) for name in self._names]
"""
DISKS = """\
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data"
NAMES = ["blue", "red"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's folder; a folder for data is beside it."""
    (tmp_path / "data").mkdir()
    made = tmp_path / "theirs"
    made.mkdir()
    return made


class Installed:
    """What is installed, run in the user's folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._data = folder.parent / "data"
        self.settings = {"DISCOVERY": "folders", "FOLDER_NODES": "2", "WORKERS": "1"}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        program, *arguments = command
        return subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def output(self, *command: str) -> str:
        """Return what a program prints that succeeds."""
        done = self.run(*command)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @contextmanager
    def serving(self, *command: str, port: int) -> Iterator[ServerProcess]:
        """Let a server run meanwhile."""
        program, *arguments = command
        process = ServerProcess(
            port,
            self._folder.parent / f"{port}.log",
            [str(self._programs / program), *arguments],
            self._folder,
            self._environ(),
        )
        try:
            yield process.start()
        finally:
            assert process.stop() == 0, process.log.read_text()

    def _environ(self) -> dict[str, str]:
        places = {"DATA_DIR": str(self._data), "SPOOL_DIR": str(self._data)}
        return environ(self._programs, **places, **self.settings)


@pytest.fixture
def installed(programs: Path, folder: Path) -> Installed:
    return Installed(programs, folder)


@pytest.fixture(params=["here", pytest.param("installed", marks=pytest.mark.slow)])
def anywhere(request: pytest.FixtureRequest, folder: Path) -> Installed:
    """Also as the tests' own environment has it, which is there at once."""
    if request.param == "installed":
        return Installed(request.getfixturevalue("programs"), folder)
    return Installed(Path(sysconfig.get_path("scripts")), folder)


def gateway_command(server: str, port: int) -> tuple[str, ...]:
    """Return how a gateway is started, by our command or by gunicorn's."""
    if server == "amazin":
        return "amazin", "serve", "--host", "127.0.0.1", "--port", str(port)
    return "python", str(GUNICORN), "--bind", f"127.0.0.1:{port}", "wsgi:app"


# A user's program


def test_a_program_gets_its_own_modules_and_our_library(
    anywhere: Installed, folder: Path
) -> None:
    plant(folder, *set(OURS) - {"errors", "settings"}, "xxhash", "docker", "minio")
    (folder / "errors.py").write_text("class GatewayError(Exception): own = True\n")
    (folder / "settings.py").write_text("from errors import GatewayError as Settings\n")
    (folder / "program.py").write_text(
        "import errors, settings\n"
        "from amazin.client import ClientError, GatewayClient\n"
        "assert settings.Settings is errors.GatewayError and errors.GatewayError.own\n"
        "try:\n"
        "    GatewayClient('http://127.0.0.1:1', sleep=lambda _: None).buckets()\n"
        "except ClientError as exc:\n"
        "    print(type(exc).__module__)\n"
    )
    assert anywhere.output("python", "program.py") == "amazin.errors\n"


# Our programs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "planted"), [("amazin", EVERYTHING), ("gunicorn", PLAIN_GUNICORN)]
)
def test_a_gateway_is_ours_beside_files_of_any_name(
    installed: Installed, folder: Path, server: str, planted: tuple[str, ...]
) -> None:
    plant(folder, *planted)
    port = free_port()
    with installed.serving(*gateway_command(server, port), port=port) as gateway:
        assert gateway.ask("PUT", "/object/abc", b"hello").status == 201
        assert gateway.ask("GET", "/object/abc").body == b"hello"
        assert gateway.ask("GET", "/docs").status == 200
        plant(folder, *EVERYTHING)
        url = ("--url", f"http://127.0.0.1:{port}")
        installed.output("amazin", "ls", *url)
        assert installed.output("amazin", "get", *url, "abc", "-") == "hello"
        shown = installed.output("amazin", "status", "--json", "--count")
        assert json.loads(shown)["total"]["objects"] == 1
        installed.output("amazin", "repair", "--dry-run")


def test_commands_are_ours_beside_files_of_any_name(
    anywhere: Installed, folder: Path
) -> None:
    plant(folder, *EVERYTHING)
    (folder / "configs").mkdir()
    (folder / "configs" / "config.yaml").write_text("replicas: 2\n")
    assert "replicas" in anywhere.output("amazin", "config").lower()
    anywhere.output("amazin", "version")
    anywhere.output("amazin", "--help")
    port, store = free_port(), str(folder.parent / "blobs")
    command = ("amazin", "blob-server", "-store", store, "-port", str(port))
    with anywhere.serving(*command, port=port) as server:
        assert server.ask("POST", "/blob/abc", b"hello").status == 200
        assert server.ask("GET", "/blob/abc").body == b"hello"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"DISCOVERY": "docker", "DOCKER_HOST": "unix:///nowhere"},
            "The list of nodes can't be read: The Docker daemon does not answer",
        ),
        (
            {"DISCOVERY": "consul", "CONSUL_ADDRESS": "127.0.0.1:1"},
            "The list of nodes can't be read: The Consul agent does not answer",
        ),
        (
            {"DISCOVERY": "static", "NODES": "a=http://key:secret@127.0.0.1:1"},
            "a: unreachable: no connection to the node",
        ),
    ],
)
def test_libraries_are_never_the_users_files(
    installed: Installed, folder: Path, settings: dict[str, str], said: str
) -> None:
    plant(folder, *EVERYTHING)
    installed.settings |= settings
    done = installed.run("amazin", "status")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said)


# A discovery of the user's own


@pytest.mark.slow
@pytest.mark.parametrize("server", ["amazin", "gunicorn"])
@pytest.mark.parametrize("module", ["discovery", "errors", "docker", "inner.nodes"])
def test_ones_own_discovery_may_be_called_like_a_module_of_ours(
    installed: Installed, folder: Path, server: str, module: str
) -> None:
    plant(folder, *PLAIN_GUNICORN)
    file = (folder / module.replace(".", "/")).with_suffix(".py")
    file.parent.mkdir(exist_ok=True)
    file.write_text(OWN_DISCOVERY)
    (folder / "disks.py").write_text(DISKS)
    for name in ("blue", "red"):
        (folder.parent / "data" / name).mkdir()
    installed.settings["DISCOVERY"] = f"{module}:Mine"
    port = free_port()
    with installed.serving(*gateway_command(server, port), port=port) as gateway:
        assert gateway.ask("PUT", "/object/abc", b"hello").status == 201
        ready = json.loads(gateway.ask("GET", "/health/ready").body)
        assert [node["name"] for node in ready["nodes"]] == ["blue", "red"]
    shown = json.loads(installed.output("amazin", "status", "--json", "--count"))
    assert [node["node"] for node in shown["nodes"]] == ["blue", "red"]
    assert shown["total"]["objects"] == 1
