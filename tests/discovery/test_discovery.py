"""Who the nodes are, by every source, and what happens when a source fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError, DockerException

from amazin.discoveries.docker_containers import Keys
from amazin.discoveries.docker_daemon import DaemonEvents
from amazin.discoveries.docker_endpoint import Endpoint
from amazin.discoveries.folders import FolderDiscovery
from amazin.discoveries.lists import NodesFileDiscovery, StaticDiscovery
from amazin.errors import DiscoveryError, SettingsError
from amazin.model.node_specs import NodeSpec, WatchingDiscovery
from amazin.settings.converters import nodes
from amazin.settings.load import from_environ
from amazin.settings.settings import Settings
from discovery import DockerDiscovery, load_discovery
from tests.support.cleanup import closed_later
from tests.support.fake_docker import FakeDaemon
from tests.support.forked import is_so_in_child

GATEWAY_ID = "0123456789abcdef" * 4

OWN = "tests.support.own_discovery"
PATIENCE_SECONDS = 30.0


@pytest.fixture
def daemon() -> FakeDaemon:
    fake = FakeDaemon()
    fake.inspections[GATEWAY_ID] = {
        "Id": GATEWAY_ID,
        "Config": {"Labels": {"com.docker.compose.project": "shop"}},
        "HostConfig": {"NetworkMode": "shop_default"},
        "NetworkSettings": {"Networks": {"shop_default": {"NetworkID": "net-1"}}},
    }
    return fake


@pytest.fixture
def in_container(daemon: FakeDaemon, tmp_path: Path) -> DockerDiscovery:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 1 0:1 /containers/{GATEWAY_ID}/hosts /etc/hosts rw\n")
    return docker_discovery(daemon, mountinfo)


@pytest.fixture
def on_host(daemon: FakeDaemon, tmp_path: Path) -> DockerDiscovery:
    return docker_discovery(daemon, tmp_path / "no mountinfo on this system")


def docker_discovery(
    daemon: FakeDaemon, mountinfo: Path, **more: Any
) -> DockerDiscovery:
    connect: Any = daemon.connect
    endpoint = Endpoint("unix:///daemon")
    found = DockerDiscovery("amazin-node", 9000, endpoint, connect, mountinfo, **more)
    return closed_later(found)


def in_network(name: str, id_: str, ip: str = "10.9.9.9") -> dict[str, Any]:
    return {"Networks": {name: {"NetworkID": id_, "IPAddress": ip}}}


def names(found: Any) -> list[str]:
    return [spec.name for spec in found]


# Docker: what is a node


def test_nodes_of_the_gateways_network_are_found_by_name(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    labels = {"amazin.weight": "2", "amazin.group": "fast"}
    daemon.add("c1", "shop-amazin-node-b", Labels=labels)
    daemon.add("c2", "shop-amazin-node-a")
    assert in_container.find() == [
        NodeSpec(
            *("shop-amazin-node-a", "http://10.0.0.1:9000", "user", "of-c2"),
            *(1.0, "", "c2"),
        ),
        NodeSpec(
            *("shop-amazin-node-b", "http://10.0.0.0:9000", "user", "of-c1"),
            *(2.0, "fast", "c1"),
        ),
    ]


def test_no_nodes_is_an_answer_too(in_container: DockerDiscovery) -> None:
    assert in_container.find() == []


@pytest.mark.parametrize("state", ["exited", "created", "paused", "restarting", "dead"])
def test_a_node_that_does_not_run_is_known_without_an_address(
    daemon: FakeDaemon, in_container: DockerDiscovery, state: str
) -> None:
    daemon.add("c1", "amazin-node-1", State=state)
    assert [(s.name, s.endpoint) for s in in_container.find()] == [
        ("amazin-node-1", None)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"Names": ["/amazinXnode"]},
        {"Labels": {"com.docker.compose.oneoff": "True"}},
        {"NetworkSettings": in_network("other_default", "net-9")},
        {"NetworkSettings": in_network("shop_default", "net-2")},
        {"NetworkSettings": {"Networks": {}}},
        {"Id": GATEWAY_ID},
    ],
)
def test_strangers_are_no_nodes(
    daemon: FakeDaemon, in_container: DockerDiscovery, changes: dict[str, Any]
) -> None:
    daemon.existing_networks = ["net-1", "net-2", "net-9"]
    daemon.add("c1", "amazin-node-1", **changes)
    assert in_container.find() == []


def test_a_network_that_is_gone_counts_by_its_name(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    daemon.existing_networks = ["net-1"]
    for number in (1, 2):
        gone = in_network("shop_default", "gone", "")
        daemon.add(f"c{number}", f"amazin-node-{number}", NetworkSettings=gone)
    assert names(in_container.find()) == ["amazin-node-1", "amazin-node-2"]
    assert daemon.asked.count("networks") == 1


def test_networks_are_only_asked_for_in_doubt(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    daemon.add("c1", "amazin-node-1")
    never_started = in_network("shop_default", "", "")
    daemon.add("c2", "amazin-node-2", State="created", NetworkSettings=never_started)
    daemon.add("c3", "amazin-node-3", NetworkSettings=in_network("other", "net-9"))
    assert names(in_container.find()) == ["amazin-node-1", "amazin-node-2"]
    assert "networks" not in daemon.asked


def test_a_gateway_on_the_host_takes_them_all(
    daemon: FakeDaemon, on_host: DockerDiscovery
) -> None:
    daemon.add("c1", "amazin-node-1", NetworkSettings=in_network("any", "net-7"))
    assert [spec.endpoint for spec in on_host.find()] == ["http://10.9.9.9:9000"]


def test_a_gateway_with_host_networking_takes_them_all(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    daemon.inspections[GATEWAY_ID]["HostConfig"]["NetworkMode"] = "host"
    daemon.add("c1", "amazin-node-1", NetworkSettings=in_network("any", "net-7"))
    assert [spec.endpoint for spec in in_container.find()] == ["http://10.9.9.9:9000"]


def test_a_gateway_in_another_daemons_container_takes_none(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    del daemon.inspections[GATEWAY_ID]
    daemon.add("c1", "amazin-node-1", NetworkSettings=in_network("any", "net-7"))
    with pytest.raises(DiscoveryError, match="set DOCKER_NETWORKS"):
        in_container.find()


def test_networks_may_be_chosen(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.existing_networks = ["net-1", "net-7"]
    daemon.add("c1", "amazin-node-1", NetworkSettings=in_network("any", "net-7"))
    daemon.add("c2", "amazin-node-2")
    for networks, found in (
        (["net-7"], ["amazin-node-1"]),
        (["net-1-name"], ["amazin-node-2"]),
        (["*"], ["amazin-node-1", "amazin-node-2"]),
    ):
        one = docker_discovery(daemon, tmp_path / "mountinfo", networks=networks)
        assert names(one.find()) == found


# Docker: addresses and keys


def test_a_network_with_ipv6_alone(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    networks = in_network("shop_default", "net-1", "")
    networks["Networks"]["shop_default"]["GlobalIPv6Address"] = "fd00::2"
    daemon.add("c1", "amazin-node-1", NetworkSettings=networks)
    assert [spec.endpoint for spec in in_container.find()] == ["http://[fd00::2]:9000"]


def test_a_node_without_an_address_is_warned_of(
    daemon: FakeDaemon,
    in_container: DockerDiscovery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "amazin.discovery")
    no_address = in_network("shop_default", "net-1", "")
    daemon.add("c1", "amazin-node-1", NetworkSettings=no_address)
    daemon.add("c2", "amazin-node-2", State="exited", NetworkSettings=no_address)
    for _ in range(2):
        assert [spec.endpoint for spec in in_container.find()] == [None, None]
    assert caplog.messages == [
        "container amazin-node-1: it runs without an address in a shared network"
    ]


OWN_KEYS = Keys("own", "keys")
IN_FILES = ["MINIO_ROOT_USER_FILE=/run/secrets/no", "MINIO_ROOT_PASSWORD_FILE=no"]


@pytest.mark.parametrize(
    ("environment", "default_keys", "keys"),
    [
        ([], None, ("minioadmin", "minioadmin")),
        ([], OWN_KEYS, OWN_KEYS),
        (IN_FILES, OWN_KEYS, OWN_KEYS),
    ],
)
def test_keys_of_nodes_that_tell_none(
    daemon: FakeDaemon,
    tmp_path: Path,
    environment: list[str],
    default_keys: Keys | None,
    keys: tuple[str, str],
) -> None:
    daemon.add("c1", "amazin-node-1")
    daemon.inspections["c1"] = {"Config": {"Env": environment}}
    no_mountinfo = tmp_path / "none"
    (spec,) = docker_discovery(daemon, no_mountinfo, default_keys=default_keys).find()
    assert (spec.access_key, spec.secret_key) == keys and spec.endpoint


def test_keys_in_files_that_cannot_be_read(
    daemon: FakeDaemon, on_host: DockerDiscovery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "amazin.discovery")
    daemon.add("c1", "amazin-node-1")
    daemon.inspections["c1"] = {"Config": {"Env": IN_FILES}}
    (spec,) = on_host.find()
    assert (spec.name, spec.endpoint) == ("amazin-node-1", None)
    assert "set NODE_ACCESS_KEY and NODE_SECRET_KEY" in caplog.text


def test_the_settings_reach_the_discovery() -> None:
    with pytest.raises(SettingsError, match="DOCKER_CERT_PATH"):
        load_discovery(
            Settings(docker_host="tcp://d:1", docker_cert_path="/no such folder")
        )


# Docker: changes


def test_each_container_is_inspected_once_and_forgotten_when_gone(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    summary = daemon.add("c1", "amazin-node-1")
    in_container.find()
    summary["State"] = "exited"
    in_container.find()
    assert daemon.asked.count("c1") == 1
    daemon.summaries.clear()
    assert in_container.find() == []
    daemon.summaries.append(summary)
    in_container.find()
    assert daemon.asked.count("c1") == 2


def test_a_restarted_node_has_its_new_address(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    summary = daemon.add("c1", "amazin-node-1")
    in_container.find()
    summary["NetworkSettings"] = in_network("shop_default", "net-1", "10.0.0.77")
    assert in_container.find()[0].endpoint == "http://10.0.0.77:9000"


def test_a_recreated_node_has_its_new_keys_and_identity(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    service = {
        "com.docker.compose.service": "node",
        "com.docker.compose.container-number": "1",
    }
    old = daemon.add("old", "amazin-node-1", Labels=service)
    before = in_container.find()[0]
    old |= {"State": "exited", "Names": ["/0f0f_amazin-node-1"]}
    daemon.add("new", "amazin-node-1", Labels=service)
    after = in_container.find()[0]
    assert (before.name, before.identity, before.secret_key) == (
        "node-1",
        "old",
        "of-old",
    )
    assert (after.name, after.identity, after.secret_key) == ("node-1", "new", "of-new")
    assert len(in_container.find()) == 1


def test_a_container_removed_between_list_and_inspect_is_skipped(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    daemon.add("c1", "amazin-node-1")
    daemon.add("c2", "amazin-node-2")
    del daemon.inspections["c1"]
    assert names(in_container.find()) == ["amazin-node-2"]


def test_a_node_that_is_being_drained_has_no_weight(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    daemon.add("c1", "amazin-node-1", Labels={"amazin.weight": "0"})
    assert [spec.weight for spec in in_container.find()] == [0.0]


def test_bad_labels_and_a_doubled_name_are_warned_of_once(
    daemon: FakeDaemon,
    in_container: DockerDiscovery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "amazin.discovery")
    labels = {"amazin.weight": "-1", "amazin.group": "a b"}
    daemon.add("c1", "amazin-node-1", Labels=labels)
    daemon.add("c2", "amazin-node-2", Labels={"amazin.name": "disk"})
    daemon.add("c3", "amazin-node-3", Labels={"amazin.name": "disk"})
    for _ in range(3):
        found = in_container.find()
        assert [(s.name, s.weight, s.group, s.identity) for s in found] == [
            ("amazin-node-1", 1.0, "", "c1"),
            ("disk", 1.0, "", "c3"),
        ]
    assert caplog.messages == [
        "container amazin-node-2: another running container has its stable name",
        "container amazin-node-1: its label amazin.weight is no number from 0 up",
        "container amazin-node-1: its label amazin.group is no name",
    ]


# Docker: failures


def permission_error() -> Exception:
    """As the SDK wraps it: what it was is only in the chain."""
    try:
        try:
            raise PermissionError(13, "/var/run/docker.sock")
        except OSError as exc:
            raise requests.ConnectionError(exc) from None
    except requests.ConnectionError as exc:
        try:
            raise DockerException("Error while fetching server API version") from exc
        except DockerException as wrapped:
            return wrapped


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (requests.ConnectionError("/secret/path"), "does not answer"),
        (requests.ReadTimeout("/secret/path"), "does not answer"),
        (DockerException("/secret/path"), "does not answer"),
        (OSError("/secret/path"), "does not answer"),
        (APIError("403 for /secret/path"), "refuses to list"),
        (permission_error(), "no permission"),
        (ValueError("/secret/path"), "can't be read"),
        (KeyError("/secret/path"), "can't be read"),
    ],
)
def test_a_failing_daemon_is_one_sentence_fit_for_clients(
    daemon: FakeDaemon, in_container: DockerDiscovery, error: Exception, sentence: str
) -> None:
    daemon.error = error
    with pytest.raises(DiscoveryError, match=sentence) as caught:
        in_container.find()
    assert "/" not in str(caught.value)
    assert caught.value.detail.startswith(f"{caught.value}: unix:///daemon: ")
    assert caught.value.__cause__ is error


def test_nonsense_from_the_daemon_is_a_discovery_error(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    for nonsense in ([{}], [None], "text", [{"Id": 1, "Names": 2}]):
        daemon.summaries = nonsense  # type: ignore[assignment]
        with pytest.raises(DiscoveryError):
            in_container.find()


def test_a_daemon_missing_at_the_start_is_asked_again(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    daemon.add("c1", "amazin-node-1")
    assert daemon.connected == 0
    daemon.error = DockerException("no daemon")
    for _ in range(2):
        with pytest.raises(DiscoveryError):
            in_container.find()
    daemon.error = None
    assert names(in_container.find()) == ["amazin-node-1"]
    assert names(in_container.find()) == ["amazin-node-1"]
    assert daemon.connected == 3


def test_after_an_error_the_client_is_closed_and_made_anew(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    in_container.find()
    daemon.error = requests.ReadTimeout()
    with pytest.raises(DiscoveryError):
        in_container.find()
    assert (daemon.connected, daemon.closed) == (1, 1)
    daemon.error = None
    in_container.find()
    assert (daemon.connected, daemon.closed) == (2, 1)


def test_a_forked_process_uses_a_client_of_its_own(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    in_container.find()

    def ask_again() -> bool:
        in_container.find()
        return daemon.connected == 2

    assert is_so_in_child(ask_again)
    in_container.find()
    assert daemon.connected == 1


# Docker: events


def event(kind: str = "container", **attributes: str) -> dict[str, Any]:
    return {"Type": kind, "Actor": {"Attributes": attributes}}


def listening_to(daemon: FakeDaemon, pause_seconds: float) -> DaemonEvents:
    connect: Any = daemon.connect
    events = DaemonEvents(
        lambda: connect(Endpoint("unix:///daemon")), "amazin-node", pause_seconds
    )
    return closed_later(events)


@pytest.fixture
def events(daemon: FakeDaemon) -> DaemonEvents:
    listening = listening_to(daemon, 0.01)
    listening.wait(PATIENCE_SECONDS)  # the first hint: what happened before
    return listening


def seconds(call: Callable[[], None]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def assert_ends_soon(wait: Callable[[float], None]) -> None:
    assert seconds(lambda: wait(PATIENCE_SECONDS)) < PATIENCE_SECONDS / 3


@pytest.mark.parametrize(
    "hint",
    [
        event(name="shop-amazin-node-1"),
        event(name="new", oldName="/amazin-node-1"),
        event("network", name="shop_default", container="c1"),
    ],
)
def test_an_event_ends_the_wait(
    daemon: FakeDaemon, events: DaemonEvents, hint: dict[str, Any]
) -> None:
    daemon.stream.put(hint)
    assert_ends_soon(events.wait)


def test_events_of_strangers_do_not(daemon: FakeDaemon, events: DaemonEvents) -> None:
    daemon.stream.put(event(name="database"))
    assert seconds(lambda: events.wait(0.2)) >= 0.2


def test_a_stream_that_ends_is_opened_again(
    daemon: FakeDaemon, events: DaemonEvents
) -> None:
    for ending in (None, {"nonsense": 1}):
        daemon.stream.put(ending)
        assert_ends_soon(events.wait)
    assert (daemon.connected, daemon.closed) == (3, 2)


def test_without_a_daemon_the_wait_is_just_a_pause(daemon: FakeDaemon) -> None:
    daemon.error = DockerException("no daemon")
    listening = listening_to(daemon, 0.05)
    assert seconds(lambda: listening.wait(0.2)) >= 0.2
    assert daemon.connected <= 5  # no busy loop
    daemon.error = None
    assert_ends_soon(listening.wait)


def test_who_has_closed_it_listens_no_more(
    daemon: FakeDaemon, events: DaemonEvents
) -> None:
    events.close()
    assert (daemon.connected, daemon.closed) == (1, 1)
    daemon.stream.put(event(name="shop-amazin-node-1"))
    assert seconds(lambda: events.wait(0.1)) >= 0.1


def test_a_wait_can_be_ended_from_another_thread(
    daemon: FakeDaemon, in_container: DockerDiscovery
) -> None:
    assert isinstance(in_container, WatchingDiscovery)
    in_container.wait(PATIENCE_SECONDS)
    waker = threading.Timer(0.05, in_container.wake)
    waker.start()
    assert_ends_soon(in_container.wait)
    waker.join(PATIENCE_SECONDS)


# Lists


def test_static_nodes() -> None:
    text = "b=http://k:s@b:1, a=http://k:s@a:1;weight=3;group=c"
    static = load_discovery(Settings(discovery="static", nodes=nodes(text)))
    assert list(static.find()) == [
        NodeSpec("a", "http://a:1", "k", "s", 3.0, "c"),
        NodeSpec("b", "http://b:1", "k", "s"),
    ]
    assert not isinstance(static, WatchingDiscovery)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=http://k:s@a:1,b=http://TOPSECRET", r"^NODES: can't be used: entry 2: "),
        (
            "a=http://k:s@a:1,a=http://k:s@b:1",
            r"^NODES: .* entry 2: two nodes",
        ),
        (" , ", r"^NODES: can't be used: there is no node"),
    ],
)
def test_a_bad_list_stops_the_start(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        from_environ({"DISCOVERY": "static", "NODES": text})
    assert "SECRET" not in str(caught.value)


def test_a_file_of_nodes_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text("# ours\n\n  # old: x\r\na=http://k:s@a:1\n", encoding="utf-8-sig")
    listed = NodesFileDiscovery(path)
    assert names(listed.find()) == ["a"]
    path.write_text("a=http://k:s@a:1\nb=http://k:s@b:1\n")
    assert names(listed.find()) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "NODES_FILE: there is no node"),
        (b"# x\n\nb=http://TOPSECRET\n", "NODES_FILE: line 3: "),
        (b"b=http://k:\xffTOPSECRET@h:1", "NODES_FILE: is not UTF-8"),
        (None, "NODES_FILE: can't be read: No such file"),
    ],
)
def test_a_broken_file_stops_the_start_but_not_a_running_gateway(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "nodes"
    path.write_text("a=http://k:s@a:1")
    listed = NodesFileDiscovery(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=message) as started:
        NodesFileDiscovery(path)
    assert f"({path})" in str(started.value) and "SECRET" not in str(started.value)
    with pytest.raises(DiscoveryError, match=message) as caught:
        listed.find()
    assert "SECRET" not in str(caught.value) and str(path) not in str(caught.value)
    path.write_text("a=http://k:s@a:1")
    assert names(listed.find()) == ["a"]


# Folders


def test_folders_are_made_and_those_that_are_there_are_known(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "da ta"
    folders = FolderDiscovery(data_dir, 2)
    assert folders.find() == [
        NodeSpec("node-1", (data_dir / "node-1").as_uri()),
        NodeSpec("node-2", (data_dir / "node-2").as_uri()),
    ]
    (data_dir / "node-12").mkdir()
    for stranger in ("node-0", "node-03", "node-x", "other"):
        (data_dir / stranger).mkdir()
    (data_dir / "node-4").write_text("a file")
    assert names(folders.find()) == ["node-1", "node-12", "node-2"]
    assert names(FolderDiscovery(data_dir, 1).find()) == ["node-1", "node-12", "node-2"]


def test_a_folder_that_vanishes_is_still_a_node(tmp_path: Path) -> None:
    folders = FolderDiscovery(tmp_path, 2)
    (tmp_path / "node-7").mkdir()
    folders.find()
    for number in (2, 7):
        (tmp_path / f"node-{number}").rmdir()
    assert names(folders.find()) == ["node-1", "node-2", "node-7"]
    assert not (tmp_path / "node-2").exists()
    (tmp_path / "node-1").rmdir()
    tmp_path.rmdir()
    assert names(folders.find()) == ["node-1", "node-2", "node-7"]


@pytest.mark.parametrize("blocked", ["data", "data/node-2"])
def test_a_data_folder_that_cannot_be_made(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("a file")
    with pytest.raises(SettingsError, match=r"^DATA_DIR: "):
        FolderDiscovery(tmp_path / "data", 3)


# Which one


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (Settings(docker_context="default"), DockerDiscovery),
        (Settings(discovery="static", nodes=nodes("a=file:///a")), StaticDiscovery),
        (Settings(discovery="static", nodes_file="nodes"), NodesFileDiscovery),
        (Settings(discovery="folders"), FolderDiscovery),
    ],
)
def test_the_settings_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, kind: type
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nodes").write_text("a=file:///a")
    assert isinstance(load_discovery(settings), kind)


def test_ones_own_discovery(tmp_path: Path) -> None:
    for slot, name in (("slot-1", "red"), ("slot-2", "blue")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "disk-name").write_text(f"{name}\n")
    own = load_discovery(
        Settings(
            discovery=f"{OWN}:DiskDiscovery",
            data_dir=str(tmp_path),
        )
    )
    assert own.find() == [
        NodeSpec("red", (tmp_path / "slot-1").as_uri()),
        NodeSpec("blue", (tmp_path / "slot-2").as_uri()),
    ]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("no_such_package.here:Class", "can't import no_such_package.here"),
        (f"{OWN}:Missing", f"{OWN} has no class Missing"),
        (
            f"{OWN}:Path",
            rf"{OWN}:Path has no method find\(\)",
        ),
        ("broken_discovery:Class", "can't import broken_discovery"),
    ],
)
def test_ones_own_discovery_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, message: str
) -> None:
    (tmp_path / "broken_discovery.py").write_text("class Class\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=f"^DISCOVERY: .*{message}"):
        load_discovery(Settings(discovery=own))
