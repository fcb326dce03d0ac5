"""What an earlier state of the program stored, and what it answered, for later ones.

`python -m tests.support.upgrade FOLDER`, run in a checkout of the earlier state into
which this file was copied, makes `folders.tar.xz` and, with MINIO set, `minio.tar.xz`:
the disks of three nodes with two replicas, and `answers.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.gateway_process import Answer, GatewayProcess, nodes_setting
from tests.support.ports import free_port
from tests.support.servers import MinioServer

NAMES = ("node-1", "node-2", "node-3")
COMMON = {"REPLICAS": "2", "CHUNK_BYTES": str(2**20), "BLOB_API": "true"}
LARGE = bytes(range(256)) * (5 * 2**11) + b"and a rest"
"""Three parts."""
KEYS = (
    *("a.txt", "2026/11/cat.jpg", "with blanks/and ümläuts.txt", "100%+&=?#.txt"),
    *("back\\slash", "dots/../and//slashes", "x" * 300, "emoji 🐈"),
)
KEPT_HEADERS = ("etag", "content-type", "x-meta-colour", "x-meta-name", "last-modified")
LISTS = (
    "/objects/photos/list",
    "/objects/empty/list",
    "/objects/photos/list?prefix=2026/",
)


def fill(gateway: GatewayProcess) -> list[str]:
    """Store objects of all kinds; return the paths of all that were ever stored."""
    paths = [f"/object/id{number}" for number in range(20)]
    for bucket in ("photos", "empty"):
        stored(gateway.ask("POST", f"/buckets/{bucket}"))
    for number, path in enumerate(paths):
        stored(gateway.ask("PUT", path, b"body %d" % number * number, META))
    for key in KEYS:
        path = f"/objects/photos/{quote(key, safe='')}"
        paths.append(path)
        stored(gateway.ask("PUT", path, key.encode(), {"X-Meta-Name": "k"}))
    for path in ("/object/large", "/objects/photos/large.bin"):
        paths.append(path)
        stored(gateway.ask("PUT", path, LARGE, META))
    for number in (1, 2, 3):
        stored(gateway.ask("PUT", paths[0], b"again %d" % number))
    for path in (paths[5], "/objects/photos/a.txt"):
        stored(gateway.ask("DELETE", path))
    answer = stored(gateway.ask("POST", "/upload", b"a blob", BLOB))
    return [*paths, f"/fetch/{json.loads(answer.body)['id']}"]


META = {"Content-Type": "text/plain; charset=utf-8", "X-Meta-Colour": "blue"}
BLOB = {"Content-Type": "application/octet-stream"}


def stored(answer: Answer) -> Answer:
    """Return the answer, which must be a success."""
    assert answer.status < 300, (answer.status, answer.body)
    return answer


def answers_of(gateway: GatewayProcess, paths: Sequence[str]) -> dict[str, Any]:
    """Return what a gateway answers for each path: status, headers, checksum; lists."""
    found: dict[str, Any] = {}
    for path in paths:
        answer = gateway.ask("GET", path)
        found[path] = {"status": answer.status}
        if answer.status == 200:
            headers = {name: answer.headers[name] for name in KEPT_HEADERS}
            sha256 = hashlib.sha256(answer.body).hexdigest()
            found[path] |= {"headers": headers, "sha256": sha256}
    for path in LISTS:
        found[path] = json.loads(stored(gateway.ask("GET", path)).body)
    return found


@contextmanager
def minio_settings(
    disks: Path, binary: str, names: Sequence[str]
) -> Iterator[Mapping[str, str]]:
    """Start a MinIO server on each disk; yield the settings of a gateway on them."""
    with ExitStack() as running:
        servers = [
            MinioServer(binary, disks / name, free_port(), "accesskey", "secret-key-1")
            for name in names
        ]
        for server in servers:
            running.callback(server.stop)
            server.start()
        specs = [server.spec(name) for server, name in zip(servers, names, strict=True)]
        yield {**COMMON, "DISCOVERY": "static", "NODES": nodes_setting(specs)}


def folder_settings(disks: Path) -> dict[str, str]:
    """Return the settings of a gateway on these folders."""
    return {**COMMON, "DISCOVERY": "folders", "DATA_DIR": str(disks)}


def record(disks: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Fill the nodes by a gateway; return what it answers afterwards."""
    with GatewayProcess(disks.parent, settings) as gateway:
        paths = fill(gateway)
        answers = answers_of(gateway, paths)
        assert gateway.stop() == 0
        return answers


def keep(disks: Path, archive: Path) -> None:
    """Pack the disks."""
    with tarfile.open(archive, "w:xz") as tar:
        for path in sorted(disks.glob("node-?")):
            tar.add(path, path.name)


def unpack(archive: Path, disks: Path) -> None:
    """Unpack the disks, as files of this user."""
    disks.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(disks, filter="data")


def main(target: Path, minio: str | None) -> None:
    """Make the files; see the module."""
    answers = {}
    with tempfile.TemporaryDirectory() as name:
        disks = Path(name) / "folders"
        answers["folders"] = record(disks, folder_settings(disks))
        keep(disks, target / "folders.tar.xz")
        if minio:
            disks = Path(name) / "minio"
            with minio_settings(disks, minio, NAMES) as settings:
                answers["minio"] = record(disks, settings)
            keep(disks, target / "minio.tar.xz")
    text = json.dumps(answers, indent=1, ensure_ascii=False, sort_keys=True)
    (target / "answers.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ.get("MINIO"))
