"""Docker's JSON read as nodes, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from amazin.discoveries.docker_containers import (
    MINIO_DEFAULT_KEYS,
    Attachment,
    Container,
    Keys,
    Viewpoint,
    address_of,
    choose,
    group_of,
    has_doubtful_network,
    is_candidate,
    own_container_id,
    read_container,
    read_keys,
    read_viewpoint,
    shared_attachments,
    stable_names,
    weight_of,
)

OURS = Viewpoint("gateway", "shop", {"shop_default": "net-1"})
HOST = Viewpoint()
ID = "0123456789abcdef" * 4


def container(
    id_: str = "c1", name: str = "node-1", running: bool = True, **changes: Any
) -> Container:
    return Container(id_, name, running, **({"created": 1} | changes))


def compose(service: str, number: str, project: str) -> dict[str, str]:
    prefix = "com.docker.compose."
    return {
        prefix + "service": service,
        prefix + "container-number": number,
        prefix + "project": project,
        prefix + "oneoff": "False",
    }


def test_a_list_entry_is_read() -> None:
    networks = {
        "b": {"NetworkID": "", "IPAddress": "", "GlobalIPv6Address": ""},
        "a": {"NetworkID": "n", "IPAddress": "10.0.0.2", "GlobalIPv6Address": "fd::2"},
        "c": None,
    }
    summary = {
        "Id": "c1",
        "Names": ["/gateway/alias", "/node-1"],
        "State": "running",
        "Created": 5,
        "Labels": None,
        "NetworkSettings": {"Networks": networks},
    }
    assert read_container(summary) == Container(
        "c1",
        "node-1",
        True,
        5,
        {},
        (
            Attachment("a", "n", "10.0.0.2", "fd::2"),
            Attachment("b", "", "", ""),
            Attachment("c", "", "", ""),
        ),
    )


@pytest.mark.parametrize("names", [None, [], ["/gateway/alias"]])
def test_a_container_without_a_name_of_its_own_has_an_empty_one(names: Any) -> None:
    summary = {"Id": "c1", "Names": names, "State": "created", "Created": 5}
    assert read_container(summary) == Container("c1", "", False, 5)


@pytest.mark.parametrize(
    "state", ["created", "paused", "restarting", "exited", "dead", "removing"]
)
def test_only_state_running_runs(state: str) -> None:
    summary = {"Id": "c1", "Names": ["/n"], "State": state, "Created": 5}
    assert not read_container(summary).is_running


@pytest.mark.parametrize(
    ("mode", "networks"), [("shop_default", {"shop_default": "n"}), ("host", None)]
)
def test_the_own_container_says_project_and_networks(mode: str, networks: Any) -> None:
    inspected = {
        "Id": "gateway",
        "Config": {"Labels": compose("gateway", "1", "shop")},
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Networks": {"shop_default": {"NetworkID": "n"}}},
    }
    assert read_viewpoint(inspected) == Viewpoint("gateway", "shop", networks)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            f"9 8 0:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4",
            ID,
        ),
        (f"9 8 0:1 /x/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4", ID),
        (f"9 8 0:1 /x/containers/{ID}/hosts /etc/hosts rw - ext4 /dev/vda rw", ID),
        # The host's own view of a container:
        (f"9 8 0:1 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm", None),
        (f"9 8 0:1 /x/containers/{ID[1:]}/hostname /etc/hostname rw - ext4", None),
        ("9 8 0:1 / / rw - ext4 /dev/vda rw", None),
    ],
)
def test_own_container_id(line: str, expected: str | None) -> None:
    assert own_container_id(f"1 0 0:0 / / rw\n{line}\n") == expected


@pytest.mark.parametrize(
    ("environment", "keys"),
    [
        (["MINIO_ROOT_USER=u", "MINIO_ROOT_PASSWORD=p=="], Keys("u", "p==")),
        (["MINIO_ACCESS_KEY=a", "MINIO_SECRET_KEY=s"], Keys("a", "s")),
        (["RUSTFS_ACCESS_KEY=a", "RUSTFS_SECRET_KEY=s"], Keys("a", "s")),
        (["ROOT_ACCESS_KEY=a", "ROOT_SECRET_KEY=s"], Keys("a", "s")),
        (["ROOT_ACCESS_KEY_ID=a", "ROOT_SECRET_ACCESS_KEY=s"], Keys("a", "s")),
        (["AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=s"], Keys("a", "s")),
        (
            [
                "MINIO_ACCESS_KEY=old",
                "MINIO_SECRET_KEY=old",
                "MINIO_ROOT_USER=new",
                "MINIO_ROOT_PASSWORD=new",
            ],
            Keys("new", "new"),
        ),
        (
            ["MINIO_ROOT_USER=half", "MINIO_ACCESS_KEY=a", "MINIO_SECRET_KEY=s"],
            Keys("a", "s"),
        ),
        (["PATH=/bin", "EMPTY=", "NOTHING"], MINIO_DEFAULT_KEYS),
    ],
)
def test_keys_come_from_the_environment(environment: list[str], keys: Keys) -> None:
    assert read_keys(environment) == keys


def test_keys_do_not_show_themselves() -> None:
    assert "hidden" not in f"{Keys('hidden', 'hidden')!r} {Keys('hidden', 'hidden')}"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (container(name="shop-amazin-node-1"), True),
        (container(name="other"), False),
        (container(name=""), False),
        (container(id_="gateway", name="amazin-node-gateway"), False),
        (
            container(
                name="amazin-node-run",
                labels={"com.docker.compose.oneoff": "True"},
            ),
            False,
        ),
    ],
)
def test_candidates(one: Container, expected: bool) -> None:
    assert is_candidate(one, "amazin-node", OURS) is expected


@pytest.mark.parametrize(
    ("attachment", "existing", "doubtful", "shared"),
    [
        (Attachment("shop_default", "net-1", "", ""), {"net-1"}, False, True),
        (Attachment("renamed", "net-1", "", ""), {"net-1"}, False, True),
        (Attachment("shop_default", "", "", ""), {"net-1"}, False, True),
        (Attachment("net-1", "", "", ""), {"net-1"}, False, True),
        (Attachment("shop_default", "gone", "", ""), {"net-1"}, True, True),
        (Attachment("shop_default", "net-2", "", ""), {"net-1", "net-2"}, True, False),
        (Attachment("other", "net-2", "", ""), {"net-1"}, False, False),
        (Attachment("other", "", "", ""), {"net-1"}, False, False),
    ],
)
def test_shared_networks(
    attachment: Attachment, existing: set[str], doubtful: bool, shared: bool
) -> None:
    one = container(attachments=(attachment,))
    assert has_doubtful_network(one, OURS) is doubtful
    assert shared_attachments(one, OURS, existing) == ((attachment,) if shared else ())
    assert not has_doubtful_network(one, HOST)
    assert shared_attachments(one, HOST, ()) == (attachment,)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"amazin.name": "disk-7"} | compose("s", "2", "shop"), "disk-7"),
        ({"amazin.name": ""} | compose("s", "2", "shop"), "s-2"),
        ({"amazin.name": "a/b"}, "node-1"),
        (compose("s", "2", "shop"), "s-2"),
        (compose("s", "", "shop"), "node-1"),
        (compose("", "2", "shop"), "node-1"),
        ({}, "node-1"),
    ],
)
def test_the_stable_name(labels: dict[str, str], expected: str) -> None:
    assert stable_names([container(labels=labels)], "shop") == {"c1": expected}


@pytest.mark.parametrize(
    ("own_project", "expected"),
    [
        ("shop", {"c1": "s-1", "c2": "test-s-1", "c3": "s-1", "c4": "test-s-2"}),
        ("test", {"c1": "shop-s-1", "c2": "s-1", "c3": "shop-s-1", "c4": "s-2"}),
        ("", {"c1": "shop-s-1", "c2": "test-s-1", "c3": "shop-s-1", "c4": "s-2"}),
    ],
)
def test_projects_keep_apart_where_names_clash(
    own_project: str, expected: dict[str, str]
) -> None:
    found = [
        container("c1", labels=compose("s", "1", "shop")),
        container("c2", labels=compose("s", "1", "test")),
        container("c3", running=False, labels=compose("s", "1", "shop")),
        container("c4", labels=compose("s", "2", "test")),
    ]
    if own_project == "shop":
        found.append(container("c5", labels=compose("s", "2", "shop")))
        expected = expected | {"c5": "s-2"}
    assert stable_names(found, own_project) == expected


def test_a_name_by_label_does_not_push_others_aside() -> None:
    labelled = compose("s", "1", "test") | {"amazin.name": "disk"}
    found = [
        container("c1", labels=compose("s", "1", "shop")),
        container("c2", labels=labelled),
    ]
    assert stable_names(found, "") == {"c1": "s-1", "c2": "disk"}


@pytest.mark.parametrize(
    ("first", "second", "chosen", "losers"),
    [
        ((True, 1), (False, 2), "c1", []),
        ((False, 1), (True, 2), "c2", []),
        ((False, 1), (False, 2), "c2", []),
        ((True, 2), (True, 1), "c1", ["c2"]),
    ],
)
def test_of_one_name_the_running_else_the_newest(
    first: tuple[bool, int], second: tuple[bool, int], chosen: str, losers: list[str]
) -> None:
    found = [
        container("c1", running=first[0], created=first[1]),
        container("c2", running=second[0], created=second[1]),
    ]
    by_name, running_losers = choose(found, {"c1": "n", "c2": "n"})
    assert {name: one.id for name, one in by_name.items()} == {"n": chosen}
    assert [one.id for one in running_losers] == losers


@pytest.mark.parametrize(
    ("running", "addresses", "expected"),
    [
        (True, [("10.0.0.2", "")], "10.0.0.2"),
        (True, [("", ""), ("10.0.0.3", "fd::3")], "10.0.0.3"),
        (True, [("", "fd::2"), ("10.0.0.3", "")], "10.0.0.3"),
        (True, [("", ""), ("", "fd::2")], "[fd::2]"),
        (True, [("", "")], None),
        (True, [], None),
        (False, [("10.0.0.2", "")], None),
    ],
)
def test_addresses(
    running: bool, addresses: list[tuple[str, str]], expected: str | None
) -> None:
    shared = tuple(Attachment("n", "i", ipv4, ipv6) for ipv4, ipv6 in addresses)
    assert address_of(container(running=running), shared) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, 1.0),
        ({"amazin.weight": "2.5"}, 2.5),
        ({"amazin.weight": "0"}, 0.0),
        ({"amazin.weight": "-1"}, None),
        ({"amazin.weight": "heavy"}, None),
        ({"amazin.weight": ""}, None),
    ],
)
def test_weights(labels: dict[str, str], expected: float | None) -> None:
    assert weight_of(container(labels=labels)) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, ""),
        ({"amazin.group": "fast"}, "fast"),
        ({"amazin.group": "a/b"}, None),
        ({"amazin.group": ""}, None),
    ],
)
def test_groups(labels: dict[str, str], expected: str | None) -> None:
    assert group_of(container(labels=labels)) == expected
