"""Settings: read from a mapping, refused at the start by name, told in the README."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from errors import SettingsError
from settings import Settings, parse_group_weights, parse_networks
from tests.settings_table import row, settings_table

README = Path(__file__).resolve().parent.parent / "README.md"
SECRETS = ("nodes",)
MIB = 2**20

GOOD = [
    ("HOST", "127.0.0.1", "127.0.0.1"),
    ("HOST", "::", "::"),
    ("HOST", "gateway.example", "gateway.example"),
    ("PORT", "1", 1),
    ("PORT", " 65535 ", 65535),
    ("DISCOVERY", "docker", "docker"),
    ("DISCOVERY", "folders", "folders"),
    ("DISCOVERY", "my_package.disks:Disks2", "my_package.disks:Disks2"),
    ("STORAGE_INSTANCES_SELECTOR", "my-node_1.a", "my-node_1.a"),
    ("NODE_PORT", "9001", 9001),
    ("DOCKER_HOST", "tcp://proxy:2375", "tcp://proxy:2375"),
    ("DOCKER_HOST", "unix:///run/docker.sock", "unix:///run/docker.sock"),
    ("NODES", "a=http://k:s@h:1", "a=http://k:s@h:1"),
    ("NODES_FILE", "/run/secrets/nodes", "/run/secrets/nodes"),
    ("DATA_DIR", "/srv/objects", "/srv/objects"),
    ("FOLDER_NODES", "1000", 1000),
    ("REFRESH_SECONDS", "0.5", 0.5),
    ("REPLICAS", "9", 9),
    ("GROUP_WEIGHTS", "fast=2,slow=0.5", "fast=2,slow=0.5"),
    ("MAX_OBJECT_BYTES", "0", 0),
    ("MAX_OBJECT_BYTES", "5GiB", 5 * 2**30),
    ("MAX_OBJECT_BYTES", "1 mib", MIB),
    ("MAX_OBJECT_BYTES", "1MB", 10**6),
    ("SPOOL_DIR", "/spool", "/spool"),
    ("SPOOL_BYTES", "20GB", 20 * 10**9),
    ("NODE_CONNECT_TIMEOUT", "2", 2.0),
    ("NODE_ANSWER_TIMEOUT", "0.25", 0.25),
    ("NODE_TRANSFER_TIMEOUT", "60.5", 60.5),
    ("FORWARDED_ALLOW_IPS", "*", "*"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1", "10.0.0.0/8, ::1"),
    ("LOG_LEVEL", "DEBUG", "debug"),
    ("LOG_DEBUG", "true", True),
    ("LOG_DEBUG", "1", True),
    ("LOG_DEBUG", "Off", False),
    ("WORKERS", "256", 256),
    ("SERVER", "Granian", "granian"),
]

BAD = [
    ("HOST", "my host"),
    ("HOST", "http://0.0.0.0"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "three"),
    ("PORT", "3000.0"),
    ("PORT", "٣٠٠٠"),
    ("PORT", "9" * 5000),
    ("DISCOVERY", "kubernetes"),
    ("DISCOVERY", "package..module:Class"),
    ("DISCOVERY", "package.module:"),
    ("DISCOVERY", "static"),  # without NODES: see below for who is named
    ("STORAGE_INSTANCES_SELECTOR", ".*|"),
    ("STORAGE_INSTANCES_SELECTOR", "a b"),
    ("NODE_PORT", "-1"),
    ("DOCKER_HOST", "/var/run/docker.sock"),
    ("FOLDER_NODES", "0"),
    ("FOLDER_NODES", "1001"),
    ("REFRESH_SECONDS", "0"),
    ("REFRESH_SECONDS", "-1"),
    ("REFRESH_SECONDS", "inf"),
    ("REFRESH_SECONDS", "nan"),
    ("REFRESH_SECONDS", "1e3"),
    ("REPLICAS", "0"),
    ("REPLICAS", "10"),
    ("REPLICAS", "two"),
    ("GROUP_WEIGHTS", "fast"),
    ("GROUP_WEIGHTS", "=2"),
    ("GROUP_WEIGHTS", "a/b=2"),
    ("GROUP_WEIGHTS", "fast=0"),
    ("GROUP_WEIGHTS", "fast=-1"),
    ("GROUP_WEIGHTS", "fast=much"),
    ("GROUP_WEIGHTS", "fast=2=3"),
    ("GROUP_WEIGHTS", "fast=2,slow=1,fast=2"),
    ("GROUP_WEIGHTS", "fast=2;slow=1"),
    ("MAX_OBJECT_BYTES", "-1"),
    ("MAX_OBJECT_BYTES", "1.5GiB"),
    ("MAX_OBJECT_BYTES", "1 parsec"),
    ("MAX_OBJECT_BYTES", "6GiB"),
    ("SPOOL_BYTES", "much"),
    ("SPOOL_BYTES", "GiB"),
    ("NODE_CONNECT_TIMEOUT", "1s"),
    ("NODE_ANSWER_TIMEOUT", "0.0"),
    ("NODE_TRANSFER_TIMEOUT", "1,5"),
    ("FORWARDED_ALLOW_IPS", "proxy.example"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.1, 10.0.0.300"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.0/33"),
    ("FORWARDED_ALLOW_IPS", "*, 10.0.0.1"),
    ("LOG_LEVEL", "loud"),
    ("LOG_DEBUG", "perhaps"),
    ("WORKERS", "0"),
    ("WORKERS", "257"),
    ("SERVER", "uwsgi"),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_good_value_is_taken(name: str, text: str, value: object) -> None:
    found = getattr(Settings.from_environ({name: text}), name.lower())
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_stops_the_start_and_names_the_variable(
    name: str, text: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environ({name: text})
    expected = "NODES" if (name, text) == ("DISCOVERY", "static") else name
    assert str(refusal.value).startswith(expected + ":")


def test_every_setting_is_in_the_table_of_good_values() -> None:
    names = {setting.name.upper() for setting in dataclasses.fields(Settings)}
    assert names == {name for name, _, _ in GOOD}


def test_unset_and_empty_variables_take_their_defaults() -> None:
    names = [setting.name.upper() for setting in dataclasses.fields(Settings)]
    assert Settings.from_environ({}) == Settings()
    assert Settings.from_environ(dict.fromkeys(names, " ")) == Settings()


def test_every_default_can_be_written_into_the_environment() -> None:
    for setting in dataclasses.fields(Settings):
        if setting.default != "":
            text = str(setting.default)
            assert setting.metadata["convert"](text) == setting.default


def test_variables_that_are_no_settings_are_nobodys_business() -> None:
    assert Settings.from_environ({"HOME": "/root", "port": "x"}) == Settings()


def test_static_discovery_needs_exactly_one_list() -> None:
    for lists in ({}, {"NODES": "a=http://k:s@h:1", "NODES_FILE": "/nodes"}):
        with pytest.raises(SettingsError, match=r"^NODES"):
            Settings.from_environ({"DISCOVERY": "static", **lists})
    settings = Settings.from_environ({"DISCOVERY": "static", "NODES_FILE": "/nodes"})
    assert settings.nodes_file == "/nodes"


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


# Secrets


def test_secrets_are_never_shown() -> None:
    settings = Settings.from_environ({"NODES": "a=http://key:hush@h:1"})
    assert "hush" not in repr(settings)
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environ(
            {"DISCOVERY": "static", "NODES": "hush", "NODES_FILE": "f"}
        )
    assert "hush" not in str(refusal.value)


def test_what_is_secret_says_so_first() -> None:
    for setting in dataclasses.fields(Settings):
        is_secret = setting.name in SECRETS
        assert setting.metadata["meaning"].startswith("Secret") == is_secret
        assert setting.repr != is_secret


def test_an_error_of_a_plain_setting_shows_the_value() -> None:
    with pytest.raises(SettingsError, match=r"^PORT: 'x' .* from 1 to 65535$"):
        Settings.from_environ({"PORT": "x"})


# Groups


def test_group_weights_may_have_blanks() -> None:
    assert parse_group_weights(" fast=2 ,, slow=.5,") == {"fast": 2.0, "slow": 0.5}
    assert parse_group_weights("") == {}


def test_an_error_of_the_group_weights_says_what_was_expected() -> None:
    with pytest.raises(SettingsError, match=r"^GROUP_WEIGHTS: 'a=0' .* above 0$"):
        Settings.from_environ({"GROUP_WEIGHTS": "a=0"})


# Proxies


def test_networks_may_have_host_bits_blanks_and_both_families() -> None:
    assert parse_networks(" 10.1.2.3/8 ,, ::1,") == [
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    ]
    assert parse_networks("") == []


def test_a_star_is_every_address() -> None:
    networks = [str(network) for network in parse_networks(" * ")]
    assert networks == ["0.0.0.0/0", "::/0"]


# The README


def test_the_readme_has_the_table() -> None:
    assert settings_table() in README.read_text(encoding="utf-8")


def test_a_row_shows_name_default_unit_and_meaning() -> None:
    rows = {setting.name: row(setting) for setting in dataclasses.fields(Settings)}
    assert rows["port"] == "| `PORT` | `3000` |  | Port to listen on. |"
    assert rows["max_object_bytes"].startswith("| `MAX_OBJECT_BYTES` | `5368709120` | ")
    assert rows["nodes"].startswith("| `NODES` |  |  | Secret.")
    assert rows["log_debug"].startswith("| `LOG_DEBUG` | `false` | ")
