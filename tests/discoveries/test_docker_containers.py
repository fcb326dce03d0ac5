"""Docker's JSON read as nodes, rule by rule."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from amazin.discoveries.docker_containers import (
    SECRETS,
    Attachment,
    Container,
    Keys,
    KeySources,
    Viewpoint,
    address_of,
    choose,
    group_of,
    has_doubtful_network,
    is_candidate,
    read_container,
    read_key_sources,
    read_keys,
    read_viewpoint,
    shared_attachments,
    stable_names,
    weight_of,
)

OURS = Viewpoint("gateway", "shop", {"shop_default": "net-1"})
HOST = Viewpoint()
AWS_KEYS = ("AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=s")


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
    assert read_viewpoint(inspected, inspected) == Viewpoint(
        "gateway", "shop", networks
    )


def test_the_networks_may_be_those_of_another_container() -> None:
    own = {
        "Id": "gateway",
        "Config": {"Labels": None},
        "HostConfig": {"NetworkMode": "container:vpn"},
        "NetworkSettings": {"Networks": {}},
    }
    vpn = {
        "HostConfig": {"NetworkMode": "shop_default"},
        "NetworkSettings": {"Networks": {"shop_default": {"NetworkID": "n"}}},
    }
    assert read_viewpoint(own, vpn) == Viewpoint("gateway", "", {"shop_default": "n"})


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
        (["MINIO_ROOT_USER_FILE=no such file", *AWS_KEYS], Keys("a", "s")),
    ],
)
def test_keys_come_from_the_environment(environment: list[str], keys: Keys) -> None:
    sources = read_key_sources({"Config": {"Env": environment}})
    assert sources and read_keys(sources) == keys


NAMES_OF_IMAGE = [
    "MINIO_ROOT_USER_FILE=access_key",
    "MINIO_ROOT_PASSWORD_FILE=secret_key",
]
FILES_OF_IMAGE = (SECRETS / "access_key", SECRETS / "secret_key")


@pytest.mark.parametrize(
    ("environment", "sources"),
    [
        (["PATH=/bin", "EMPTY=", "NOTHING"], None),
        (NAMES_OF_IMAGE, None),
        ([NAMES_OF_IMAGE[0], "MINIO_ROOT_PASSWORD=p", *AWS_KEYS], ("a", "s")),
        (
            ["MINIO_ROOT_USER_FILE=user", "MINIO_ROOT_PASSWORD_FILE=/else/password"],
            (SECRETS / "user", PurePosixPath("/else/password")),
        ),
        (
            ["MINIO_ROOT_USER=u", "MINIO_ROOT_PASSWORD_FILE=password"],
            ("u", SECRETS / "password"),
        ),
        (["MINIO_ROOT_USER=u", "MINIO_ROOT_PASSWORD=p", *NAMES_OF_IMAGE], ("u", "p")),
    ],
)
def test_keys_may_be_in_files(environment: list[str], sources: Any) -> None:
    assert read_key_sources({"Config": {"Env": environment}}) == sources


@pytest.mark.parametrize(
    ("mounts", "sources"),
    [
        (["/data", *map(str, FILES_OF_IMAGE)], FILES_OF_IMAGE),
        (["/data", str(SECRETS)], FILES_OF_IMAGE),
        (["/data", str(FILES_OF_IMAGE[0])], None),
    ],
)
def test_the_usual_names_of_secrets_count_where_there_are_secrets(
    mounts: list[str], sources: Any
) -> None:
    destinations = [{"Destination": mount} for mount in mounts]
    inspected = {"Config": {"Env": NAMES_OF_IMAGE}, "Mounts": destinations}
    assert read_key_sources(inspected) == sources


def test_secrets_are_read_from_the_gateways_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    files = KeySources(*(PurePosixPath(folder / name) for name in ("user", "password")))
    assert read_keys(files, folder) is None
    (folder / "user").write_text("u\n")
    (folder / "password").write_text("\n")
    assert read_keys(files, folder) is None
    (folder / "password").write_text("p\n")
    assert read_keys(files, folder) == Keys("u", "p")
    assert read_keys(files._replace(access_key="v"), folder) == Keys("v", "p")
    (folder / "password").write_bytes(b"\xff")
    assert read_keys(files, folder) is None


@pytest.mark.parametrize("name", ["other", "secrets/../other", "secrets/link"])
def test_a_container_names_no_other_files_of_the_gateway(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "other").write_text("private")
    (folder / "link").symlink_to(tmp_path / "other")
    assert read_keys(KeySources("u", PurePosixPath(tmp_path, name)), folder) is None


def test_keys_do_not_show_themselves() -> None:
    for kind in (Keys, KeySources):
        assert (
            "hidden" not in f"{kind('hidden', 'hidden')!r} {kind('hidden', 'hidden')}"
        )


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
