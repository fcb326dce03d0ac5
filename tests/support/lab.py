"""Folders as nodes, a gateway on them in this process, and the command beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from amazin.cli.main import main
from amazin.cluster.cluster import Cluster
from amazin.errors import GatewayError
from amazin.membership.membership import Membership
from amazin.membership.transitions import DesiredNodes
from amazin.model.bodies import HeldBody
from amazin.model.node_specs import NodeSpec
from amazin.model.objects import DATA_BUCKETS, ObjectName
from amazin.model.stored_names import REPAIR_NAME
from amazin.nodes.build import node_builder
from amazin.settings.settings import Settings
from tests.support.cleanup import closed_later
from tests.support.command_process import started
from tests.support.fakes import FakeDiscovery
from tests.support.folder_node import content

REFRESH_SECONDS = 0.2
KEYS = [f"key{number_:02}" for number_ in range(20)]


class Lab:
    """Folders as nodes, a gateway on them, and the command beside it."""

    def __init__(self, folder: Path, replicas: int = 1, nodes: int = 3) -> None:
        self._folder = folder
        self.discovery = FakeDiscovery()
        self.specs: dict[str, NodeSpec] = {}
        for number_ in range(1, nodes + 1):
            self.add(f"node-{number_}")
        membership = Membership(
            self.discovery,
            node_builder(Settings().node_limits),
            REFRESH_SECONDS,
            DesiredNodes(replicas, {}),
            is_watching=False,
            least_wait_seconds=0.0,
        )
        self.membership = closed_later(membership)
        self.cluster = Cluster(self.membership)

    def path(self, name: str) -> Path:
        return self._folder / name

    def add(self, name: str, weight: float = 1.0) -> None:
        """Let discovery show a node, or show it with another weight."""
        self.path(name).mkdir(exist_ok=True)
        self.specs[name] = NodeSpec(name, self.path(name).as_uri(), weight=weight)
        self.discovery.specs = list(self.specs.values())
        lines = [
            f"{spec.name}={spec.endpoint};weight={spec.weight:g}\n"
            for spec in self.specs.values()
        ]
        (self._folder / "new").write_text("".join(lines))
        (self._folder / "new").rename(self._folder / "nodes")

    def wipe(self, name: str) -> None:
        """Replace a node's disk by an empty one."""
        shutil.rmtree(self.path(name))
        self.path(name).mkdir()

    def take_away(self, name: str) -> None:
        """Unmount a node's disk."""
        self.path(name).rename(self._folder / "unmounted")

    def bring_back(self, name: str) -> None:
        (self._folder / "unmounted").rename(self.path(name))

    def put(self, *keys: str) -> None:
        for key in keys:
            self.cluster.put(ObjectName("store", key), HeldBody(key.encode()), {})

    def delete(self, key: str) -> None:
        self.cluster.delete(ObjectName("store", key))

    def bodies(self, keys: Sequence[str]) -> list[str]:
        """Return what clients read."""
        found = []
        for key in keys:
            content = self.cluster.get(ObjectName("store", key)).content
            found.append(b"".join(iter(content.read, b"")).decode())
            content.close()
        return found

    def held(self) -> dict[str, list[str]]:
        """Return the keys that lie on each node, without the report of repair."""
        build = node_builder(Settings().node_limits)
        held = {}
        for spec in self.specs.values():
            node = build(spec)
            held[spec.name] = [
                key
                for bucket in DATA_BUCKETS
                for key, _ in node.list_objects(bucket)
                if key != REPAIR_NAME.key
            ]
            node.close()
        return held

    def copies(self) -> list[str]:
        return sorted(key for keys in self.held().values() for key in keys)

    def remove(self, node_name: str, key: str) -> None:
        """Remove one copy behind everybody's back."""
        node = node_builder(Settings().node_limits)(self.specs[node_name])
        node.start_delete(ObjectName("store", key)).wait()
        node.close()

    def read_each(self, key: str) -> None:
        """Have every node read its copy, if it can."""
        build = node_builder(Settings().node_limits)
        for spec in self.specs.values():
            with closing(build(spec)) as node, suppress(GatewayError):
                node.start_get(ObjectName("store", key)).wait().close()

    def content_files(self, key: str) -> list[Path]:
        """Return the files that hold the copies of what `put` stored under a key."""
        return [
            path
            for name in sorted(self.specs)
            for path in content(self.path(name))
            if path.read_bytes() == key.encode()
        ]

    def lose_copies(self, count: int) -> tuple[str, list[str]]:
        """Remove copies from a node that has enough of them; returns which."""
        node, keys = next((n, k) for n, k in self.held().items() if len(k) >= count)
        for key in keys[:count]:
            self.remove(node, key)
        return node, keys[:count]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "DISCOVERY": "static",
            "NODES_FILE": str(self._folder / "nodes"),
            "REFRESH_SECONDS": str(REFRESH_SECONDS),
            "SPOOL_DIR": str(self._folder),
            "LOG_LEVEL": "info",
        }

    def amazin(self, *arguments: str, answers: str = "") -> Result:
        """Run the command, with its settings."""
        return run(*arguments, environ=self.environ, answers=answers)

    def report(self, *arguments: str) -> dict[str, Any]:
        """Return what `amazin repair --json` prints."""
        report: dict[str, Any] = json.loads(
            self.amazin("repair", "--json", *arguments).stdout
        )
        return report

    def start(
        self, *arguments: str, **options: Any
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run the command as a process meanwhile; it is to end by itself."""
        environ = {"PATH": os.environ["PATH"], "TERM": "xterm", **self.environ}
        return started(arguments, environ, **options)

    @contextmanager
    def watching(self, output: Path, *options: str) -> Iterator[None]:
        """Let `repair --every` run meanwhile, and end as it is to."""
        arguments = ("repair", "--every", "1h", *options)
        with (
            output.open("wb") as log,
            self.start(*arguments, stdout=log, stderr=log) as process,
        ):
            try:
                yield
            finally:
                process.terminate()
        assert process.returncode == 0


def run(*arguments: str, environ: dict[str, str], answers: str = "") -> Result:
    runner = CliRunner(env={"DISCOVERY": "", "NODES_FILE": "", "NODES": "", **environ})
    result = runner.invoke(main, arguments, input=answers, prog_name="amazin")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def read_terminal(descriptor: int) -> str:
    pieces = []
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(descriptor)
    return b"".join(pieces).decode()
