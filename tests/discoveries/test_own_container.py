"""What a process can tell about the container that it runs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from amazin.discoveries.own_container import cgroup_ids, mounted_ids, read_traces

ID = "0123456789abcdef" * 4
OUTER = "f" * 64
USERDATA = f"overlay-containers/{ID}/userdata"
FIB_TRIE = """\
Local:
  +-- 0.0.0.0/1 2 0 2
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.89.0.0/24 2 0 2
        |-- 10.89.0.0
           /24 link UNICAST
        |-- 10.89.0.3
           /32 host LOCAL
        |-- 10.89.0.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000d8b391fffedb91a9 02 40 20 80     eth0
fd000000000000000000000000000003 02 40 00 80     eth0
"""
OVERLAY = "72 48 0:39 / / rw,relatime master:2 - overlay overlay rw,lowerdir=/l\n"
DISK = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
MACHINE, CONTAINER = "pid:[4026531836]", "pid:[4026532183]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"/var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4", [ID]),
        (f"/x/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4", [ID]),
        (f"/x/containers/{ID}/hosts /etc/hosts rw - ext4 /dev/vda rw", [ID]),
        # Docker's data root is a mount of its own:
        (f"/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vdb rw", [ID]),
        # Podman, as root and rootless:
        (f"/containers/storage/{USERDATA}/hostname /etc/hostname rw - tmpfs", [ID]),
        (f"/1000/containers/{USERDATA}/hosts /etc/hosts rw - tmpfs tmpfs rw", [ID]),
        (f"/x/{USERDATA}/.containerenv /run/.containerenv rw - tmpfs", [ID]),
        # A container in a container:
        (f"/{OUTER}/containers/{ID}/hosts /etc/hosts rw - ext4 /dev/vda rw", [ID]),
        # The host's own view of a container:
        (f"/ /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm", []),
        (f"/x/{ID}/hosts /etc/hosts.d rw - ext4 /dev/vda rw", []),
        # Files of the user's own:
        ("/srv/hosts /etc/hosts rw - ext4 /dev/vda rw", []),
        (f"/x/containers/{ID[1:]}/hostname /etc/hostname rw - ext4", []),
        (f"/x/containers/{ID}0/hostname /etc/hostname rw - ext4", []),
    ],
)
def test_ids_in_mounts(line: str, expected: list[str]) -> None:
    assert list(mounted_ids(f"1 0 0:0 / / rw\n9 8 0:1 {line}\n")) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"4:memory:/docker/{ID}", [ID]),
        (f"0::/system.slice/docker-{ID}.scope", [ID]),
        (f"0::/machine.slice/libpod-{ID}.scope/container", [ID]),
        (f"0::/libpod_parent/libpod-{ID}", [ID]),
        (f"0::/docker/{OUTER}/libpod-{ID}", [ID]),
        ("0::/", []),
        ("0::/system.slice/amazin.service", []),
    ],
)
def test_ids_in_cgroups(line: str, expected: list[str]) -> None:
    assert list(cgroup_ids(f"9:name=systemd:/\n{line}\n")) == expected


def process(folder: Path, **files: str) -> Path:
    """Make a folder as `/proc/self`; `__` in names stands for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def in_namespace(folder: Path, namespace: str, mark: str = "") -> Path:
    (folder / "ns").mkdir()
    (folder / "ns/pid").symlink_to(namespace)
    if mark:
        (folder / "root" / mark).parent.mkdir(parents=True)
        (folder / "root" / mark).touch()
    return folder


def test_addresses_of_the_network_but_none_of_the_machine_alone(tmp_path: Path) -> None:
    process(tmp_path, net__fib_trie=FIB_TRIE, net__if_inet6=IF_INET6)
    assert read_traces(tmp_path, "h").addresses == {"10.89.0.3", "fd00::3"}


def test_its_own_cgroup_comes_before_files_that_may_be_anothers(tmp_path: Path) -> None:
    process(
        tmp_path,
        cgroup=f"0::/docker/{ID}\n",
        mountinfo=f"1 0 0:1 /containers/{OUTER}/hosts /etc/hosts rw - ext4\n",
    )
    traces = read_traces(tmp_path, "h")
    assert (traces.ids, traces.is_in_container) == ((ID, OUTER), True)


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_mark_tells_a_container_without_an_id(tmp_path: Path, mark: str) -> None:
    in_namespace(process(tmp_path, mountinfo=DISK), CONTAINER, mark)
    traces = read_traces(tmp_path, "h")
    assert (traces.ids, traces.is_in_container) == ((), True)


def test_a_container_with_the_machines_processes(tmp_path: Path) -> None:
    in_namespace(process(tmp_path, mountinfo=OVERLAY), MACHINE, ".dockerenv")
    assert read_traces(tmp_path, "h").is_in_container


def test_a_machine_made_from_an_image_is_no_container(tmp_path: Path) -> None:
    in_namespace(process(tmp_path, mountinfo=DISK), MACHINE, ".dockerenv")
    assert not read_traces(tmp_path, "h").is_in_container


def test_a_service_in_namespaces_is_no_container(tmp_path: Path) -> None:
    in_namespace(process(tmp_path, mountinfo=DISK), CONTAINER)
    assert not read_traces(tmp_path, "h").is_in_container


def test_a_system_without_these_files(tmp_path: Path) -> None:
    assert read_traces(tmp_path / "none", "h") == (False, (), "h", frozenset())
