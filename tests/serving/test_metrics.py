"""`/metrics` of real servers: its series, its folder, several gateways, no metrics."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from amazin.metrics.slots import MEMORY
from tests.support.command_process import run
from tests.support.gateway_process import GatewayProcess
from tests.support.paths import PROJECT
from tests.support.scrapes import those_of, values_of
from tests.support.series import exposition, labels_of
from tests.support.waiting import await_that

TOKEN = "a-token-of-prometheus"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The settings of a gateway on folders, with one worker."""
    data = str(tmp_path / "data")
    return {"DISCOVERY": "folders", "DATA_DIR": data, "WORKERS": "1"}


@pytest.fixture
def gateway(tmp_path: Path, settings: dict[str, str]) -> Iterator[GatewayProcess]:
    """A gateway on folders."""
    with GatewayProcess(tmp_path, settings) as gateway:
        yield gateway
        gateway.stop()


def scraped(gateway: GatewayProcess) -> dict[str, float]:
    answer = gateway.ask("GET", "/metrics")
    assert answer.status == 200
    return values_of(answer.body.decode())


def folders_of(pid: int, parent: Path = MEMORY) -> list[Path]:
    """Return the folders of a server's counters."""
    return list(parent.glob(f"amazin-metrics-{pid}-*"))


def access_file(path: Path) -> Path:
    """Write an access file with a principal that may do all things."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    path.write_text(
        "principals:\n"
        f"  admin: {{tokens: [{{sha256: {digest}}}], grants: [{{allow: [admin]}}]}}\n"
    )
    return path


def types_of(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("# TYPE ")}


def test_a_scrape_has_exactly_the_series_that_are_asked_for(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    path = access_file(tmp_path / "access.yaml")
    signed = {**settings, "ACCESS": "signed", "ACCESS_FILE": str(path)}
    signed |= {"SIGNING_SECRET": "s" * 32}
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with GatewayProcess(tmp_path, signed) as gateway:
        put = gateway.ask("PUT", "/object/a", b"hello", bearer)
        assert put.status == 201
        assert gateway.ask("GET", "/object/a", None, bearer).body == b"hello"
        assert gateway.ask("GET", "/object/a").status == 401
        done = run("repair", folder=tmp_path, settings=settings)
        assert done.returncode == 0, done.stderr
        expected = labels_of(exposition(1))
        text = await_that(lambda: with_repair(gateway, bearer))
        gateway.stop()
    assert labels_of(text) == expected
    assert types_of(text) == types_of(exposition(1))
    values = values_of(text)
    copies = those_of(values, "node_objects")
    assert sum(v for key, v in copies.items() if key.startswith("objects")) > 0
    assert {*those_of(values, "node_up").values()} == {1}
    assert values["repair_last_success_timestamp_seconds"] > 0
    assert values["access_file_last_reload_successful"] == 1
    assert values["access_denied_total NoCredentials"] == 1


def with_repair(gateway: GatewayProcess, bearer: Mapping[str, str]) -> str:
    """Return a scrape once it has all that a process only gets to know."""
    answer = gateway.ask("GET", "/metrics", None, bearer)
    assert answer.status == 200
    text = answer.body.decode()
    is_whole = "amazin_node_objects{" in text and "amazin_node_expected_ratio{" in text
    return text if is_whole else ""


def test_the_folder_is_in_memory_private_and_ends_with_the_server(
    tmp_path: Path, gateway: GatewayProcess
) -> None:
    (folder,) = folders_of(gateway.process.pid)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kinds = ("counter", "histogram", "gauge_livesum", "gauge_livemax")
    expected = {f"{kind}_1.db" for kind in kinds}
    await_that(lambda: {path.name for path in folder.iterdir()} == expected)
    assert gateway.stop() == 0
    assert not folder.exists()


def test_what_a_killed_server_left_the_next_one_removes(
    gateway: GatewayProcess,
) -> None:
    (folder,) = folders_of(gateway.process.pid)
    gateway.kill()
    assert folder.exists()
    gateway.start()
    assert not folder.exists()
    assert len(folders_of(gateway.process.pid)) == 1


def test_the_server_outlives_its_folder(gateway: GatewayProcess) -> None:
    (folder,) = folders_of(gateway.process.pid)
    assert gateway.ask("PUT", "/object/a", b"hello").status == 201
    await_that(lambda: (folder / "histogram_1.db").exists())
    shutil.rmtree(folder)
    assert gateway.ask("PUT", "/object/a", b"hello").status == 201
    (worker,) = gateway.workers()
    os.kill(worker, signal.SIGKILL)
    await_that(lambda: gateway.workers() not in ([], [worker]))
    gateway.wait()
    assert gateway.ask("PUT", "/object/a", b"hello").status == 201
    assert scraped(gateway)["http_requests_total object PUT 201"] == 1
    assert gateway.stop() == 0
    assert not folder.exists()


def test_two_gateways_of_one_machine_do_not_mix(
    tmp_path: Path, settings: dict[str, str], gateway: GatewayProcess
) -> None:
    with GatewayProcess(tmp_path, settings) as other:
        assert gateway.ask("PUT", "/object/a", b"hello").status == 201
        for _ in range(3):
            assert other.ask("GET", "/object/a").status == 200
        assert scraped(gateway)["http_requests_total object PUT 201"] == 1
        assert "http_requests_total object GET 200" not in scraped(gateway)
        assert scraped(other)["http_requests_total object GET 200"] == 3
        assert "http_requests_total object PUT 201" not in scraped(other)
        other.stop()
    assert scraped(gateway)["http_requests_total object PUT 201"] == 1


def test_a_server_without_workers_counts_for_itself(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with GatewayProcess(tmp_path, settings, "wsgiref") as gateway:
        assert gateway.ask("PUT", "/object/a", b"hello").status == 201
        assert scraped(gateway)["http_requests_total object PUT 201"] == 1
        assert folders_of(gateway.process.pid) == []


@pytest.mark.parametrize("server", ["gunicorn", "start"])
def test_without_metrics_there_is_no_folder_and_no_page(
    tmp_path: Path, settings: dict[str, str], server: str
) -> None:
    off = {**settings, "METRICS": "false"}
    with GatewayProcess(tmp_path, off, server) as gateway:
        assert gateway.ask("GET", "/metrics").status == 404
        assert gateway.ask("PUT", "/object/a", b"hello").status == 201
        assert folders_of(gateway.process.pid) == []
        gateway.stop()


@pytest.mark.parametrize(("metrics", "loaded"), [("true", True), ("false", False)])
def test_without_metrics_their_library_is_not_even_loaded(
    settings: dict[str, str], metrics: str, *, loaded: bool
) -> None:
    code = "import sys, wsgi; print('prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**settings, "METRICS": metrics, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.split() == [str(loaded)]


def has_mounts() -> bool:
    """Whether a test may have mounts of its own."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "ro", "x", MEMORY]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_mounts(), reason="this user may mount nothing")
def test_a_memory_folder_that_cannot_be_written_is_not_needed(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    (tmp_path / "t").mkdir()
    gateway = GatewayProcess(tmp_path, {**settings, "TMPDIR": str(tmp_path / "t")})
    mount = f"mount -t tmpfs -o ro x {MEMORY} && exec "
    shell = ["unshare", "--mount", "sh", "-c", mount + '"$@"', "sh"]
    gateway._command = [*shell, *gateway._command]
    with gateway:
        assert gateway.ask("PUT", "/object/a", b"hello").status == 201
        assert scraped(gateway)["http_requests_total object PUT 201"] == 1
        assert len(folders_of(gateway.process.pid, tmp_path / "t")) == 1
        assert gateway.stop() == 0
    assert folders_of(0, tmp_path / "t") == []
