"""Settings: read from a mapping, refused at the start by name, told in a page."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from amazin.errors import SettingsError
from amazin.model.metadata_names import object_metadata
from amazin.model.node_specs import NodeSpec
from amazin.settings.converters import group_weights, networks, nodes
from amazin.settings.load import from_environ
from amazin.settings.settings import Settings
from generate.settings_table import row, settings_page, settings_table
from tests.support.paths import PROJECT

PAGE = PROJECT / "docs" / "settings.md"
SECRETS = {
    "nodes",
    "node_access_key",
    "node_secret_key",
    "api_tokens",
    "signing_secret",
    "consul_token",
    "minio_access_key_id",
    "minio_secret_access_key",
}
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
    ("DOCKER_HOST", "tcp://daemon", "tcp://daemon"),
    ("DOCKER_HOST", "https://[fd00::1]:2376/", "https://[fd00::1]:2376/"),
    ("DOCKER_HOST", "ssh://me@machine:22", "ssh://me@machine:22"),
    ("DOCKER_CONTEXT", "desktop-linux", "desktop-linux"),
    ("DOCKER_TLS_VERIFY", "1", True),
    ("DOCKER_CERT_PATH", "/run/secrets/docker", "/run/secrets/docker"),
    ("DOCKER_NETWORKS", "shop_default, back", ("shop_default", "back")),
    ("DOCKER_NETWORKS", "*", ("*",)),
    ("NODES", "a=http://k:s@h:1", nodes("a=http://k:s@h:1")),
    ("NODES_FILE", "/run/secrets/nodes", "/run/secrets/nodes"),
    ("DATA_DIR", "/srv/objects", "/srv/objects"),
    ("FOLDER_NODES", "1000", 1000),
    ("REFRESH_SECONDS", "0.5", 0.5),
    ("REPLICAS", "9", 9),
    ("GROUP_WEIGHTS", "fast=2,slow=0.5", {"fast": 2.0, "slow": 0.5}),
    ("MAX_OBJECT_BYTES", "0", 0),
    ("MAX_OBJECT_BYTES", "5GiB", 5 * 2**30),
    ("MAX_OBJECT_BYTES", "1 mib", MIB),
    ("MAX_OBJECT_BYTES", "1MB", 10**6),
    ("BLOB_API", "true", True),
    (
        "METADATA_HEADERS",
        "X-Owner, x-project",
        object_metadata(["X-Owner", "x-project"]),
    ),
    ("CHUNK_BYTES", "0", 0),
    ("CHUNK_BYTES", "64MiB", 64 * MIB),
    ("SPOOL_DIR", "/spool", "/spool"),
    ("SPOOL_BYTES", "20GB", 20 * 10**9),
    ("SPOOL_TIMEOUT", "5m", 300.0),
    ("NODE_CONNECT_TIMEOUT", "2", 2.0),
    ("NODE_ANSWER_TIMEOUT", "0.25", 0.25),
    ("NODE_TRANSFER_TIMEOUT", "60.5", 60.5),
    ("SERVED_HOSTS", "a.example, B.example.", ("a.example", "b.example")),
    ("FORWARDED_ALLOW_IPS", "*", networks("0.0.0.0/0,::/0")),
    ("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1", networks("10.0.0.0/8,::1")),
    ("METRICS", "false", False),
    ("LOG_LEVEL", "DEBUG", "debug"),
    ("LOG_DEBUG", "true", True),
    ("LOG_DEBUG", "1", True),
    ("LOG_DEBUG", "Off", False),
    ("WORKERS", "256", 256),
    ("INSTANCE_ID", "gateway-1", "gateway-1"),
    ("REQUEST_TIMEOUT", "0", 0.0),
    ("REQUEST_TIMEOUT", "30", 30.0),
    ("REQUEST_TIMEOUT", "1h1m1.5s", 3661.5),
    ("REQUEST_TIMEOUT", "100ms", 0.1),
    ("REQUEST_TIMEOUT", "1\u00b5s", 1e-06),
    ("DEFAULT_BUCKET", "my-bucket", "my-bucket"),
    ("AUTO_CREATE_DEFAULT_BUCKET", "false", False),
    ("ACCESS", "Open", "open"),
    ("NODE_ACCESS_KEY", "key", "key"),
    ("NODE_SECRET_KEY", "s p a c e", "s p a c e"),
    ("MINIO_ENDPOINT", "localhost", "localhost"),
    ("MINIO_ENDPOINT", "[::1]:9000", "[::1]:9000"),
    ("MINIO_ACCESS_KEY_ID", "key", "key"),
    ("MINIO_SECRET_ACCESS_KEY", "secret", "secret"),
    ("ACCESS_FILE", "/run/secrets/access.yaml", "/run/secrets/access.yaml"),
    ("API_TOKENS", " one,, two==,", ("one", "two==")),
    ("SIGNING_KEY_ID", "team-a", "team-a"),
    ("SIGNING_SECRET", "12345678", "12345678"),
    ("PRESIGN", "direct", "direct"),
    ("PUBLIC_URL", "https://objects.example/", "https://objects.example"),
    ("PUBLIC_URL", "HTTP://[::1]:80", "http://[::1]:80"),
    ("CLIENT_IDLE_TIMEOUT", "2m", 120.0),
    ("HEALTH_PATH", "/my/health_1", "/my/health_1"),
    ("CONSUL_ENABLED", "yes", True),
    ("CONSUL_ADDRESS", "[::1]:8500", "[::1]:8500"),
    ("CONSUL_ADDRESS", "https://consul", "https://consul"),
    ("CONSUL_TOKEN", "b1gs33cr3t", "b1gs33cr3t"),
    ("CONSUL_NODES_SERVICE", "minio", "minio"),
    ("CONSUL_SERVICE_NAME", "objects", "objects"),
    ("CONSUL_SERVICE_ID_PREFIX", "objects-", "objects-"),
    ("CONSUL_SERVICE_TAGS", "v1, a=b", ("v1", "a=b")),
    ("CONSUL_SERVICE_ADDRESS", "10.0.0.7", "10.0.0.7"),
    ("CONSUL_HEALTH_CHECK_PATH", "/health/ready", "/health/ready"),
    ("CONSUL_HEALTH_CHECK_INTERVAL", "10s", 10.0),
    ("CONSUL_HEALTH_CHECK_TIMEOUT", "500ms", 0.5),
    ("NODE_USE_SSL", "on", True),
    ("DNS_NAME", "_minio._tcp.nodes.example", "_minio._tcp.nodes.example"),
    ("MINIO_USE_SSL", "true", True),
    ("MINIO_REGION", "eu-central-1", "eu-central-1"),
    ("LOG_LEVEL", "warn", "warning"),
]

MINIO_KEYS = {"MINIO_ACCESS_KEY_ID": "k", "MINIO_SECRET_ACCESS_KEY": "s"}
TOGETHER = {
    "NODE_ACCESS_KEY": {"NODE_SECRET_KEY": "s"},
    "NODE_SECRET_KEY": {"NODE_ACCESS_KEY": "k"},
    "MINIO_ENDPOINT": MINIO_KEYS,
}
"""What else a setting needs."""

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
    ("DOCKER_HOST", "npipe:////./pipe/docker_engine"),
    ("DOCKER_HOST", "tcp://name:password@proxy:2375"),
    ("DOCKER_HOST", "tcp://proxy:2375/path"),
    ("DOCKER_HOST", "ssh://name:password@machine"),
    ("DOCKER_HOST", "ssh://-oProxyCommand=x"),
    ("DOCKER_HOST", "ssh://-l@machine"),
    ("DOCKER_CONTEXT", "a b"),
    ("DOCKER_TLS_VERIFY", "maybe"),
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
    ("SPOOL_TIMEOUT", "0"),
    ("NODE_CONNECT_TIMEOUT", "1 s"),
    ("NODE_CONNECT_TIMEOUT", "s"),
    ("NODE_CONNECT_TIMEOUT", "1d"),
    ("NODE_CONNECT_TIMEOUT", "1m30"),
    ("NODE_CONNECT_TIMEOUT", "-1s"),
    ("NODE_CONNECT_TIMEOUT", "99999h"),
    ("NODE_CONNECT_TIMEOUT", "0h0m"),
    ("NODE_ANSWER_TIMEOUT", "0.0"),
    ("NODE_TRANSFER_TIMEOUT", "1,5"),
    ("FORWARDED_ALLOW_IPS", "proxy.example"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.1, 10.0.0.300"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.0/33"),
    ("FORWARDED_ALLOW_IPS", "*, 10.0.0.1"),
    ("LOG_LEVEL", "loud"),
    ("METRICS", "perhaps"),
    ("LOG_DEBUG", "perhaps"),
    ("WORKERS", "0"),
    ("WORKERS", "257"),
    ("INSTANCE_ID", "a b"),
    ("INSTANCE_ID", "a/b"),
    ("REQUEST_TIMEOUT", "-1"),
    ("REQUEST_TIMEOUT", "soon"),
    ("DEFAULT_BUCKET", "Bucket"),
    ("DEFAULT_BUCKET", "store"),
    ("ACCESS", "closed"),
    ("ACCESS", "signed"),  # without a token or a secret
    ("API_TOKENS", "one two"),
    ("API_TOKENS", "t\u00f6ken"),
    ("SIGNING_KEY_ID", "a/b"),
    ("SIGNING_SECRET", "1234567"),
    ("PRESIGN", "yes"),
    ("PUBLIC_URL", "objects.example"),
    ("PUBLIC_URL", "https://objects.example/path"),
    ("PUBLIC_URL", "ftp://objects.example"),
    ("PUBLIC_URL", "https://user@objects.example"),
    ("HEALTH_PATH", "health"),
    ("HEALTH_PATH", "/"),
    ("HEALTH_PATH", "/health/"),
    ("CONSUL_ENABLED", "perhaps"),
    ("CONSUL_ADDRESS", "localhost:0"),
    ("CONSUL_ADDRESS", "localhost:65536"),
    ("CONSUL_ADDRESS", "[::g]:8500"),
    ("BLOB_API", "2"),
    ("METADATA_HEADERS", "Owner"),
    ("METADATA_HEADERS", "X-Owner*"),
    ("METADATA_HEADERS", "X-Owner,X-Api-Key"),
    ("METADATA_HEADERS", "X-Amz-Acl"),
    ("METADATA_HEADERS", "X Owner"),
    ("SERVED_HOSTS", "https://a.example"),
    ("SERVED_HOSTS", "a.example:3000"),
    ("CHUNK_BYTES", "1"),
    ("CHUNK_BYTES", "6GiB"),
    ("CHUNK_BYTES", "-1"),
    ("CONSUL_ADDRESS", "::1:8500"),
    ("CONSUL_ADDRESS", "user:hush@localhost"),
    ("CONSUL_TOKEN", "a b"),
    ("CONSUL_NODES_SERVICE", "a/b"),
    ("CONSUL_SERVICE_NAME", "a b"),
    ("CONSUL_SERVICE_ID_PREFIX", "a/"),
    ("CONSUL_SERVICE_TAGS", "a b"),
    ("CONSUL_SERVICE_ADDRESS", "http://h"),
    ("CONSUL_HEALTH_CHECK_PATH", "health"),
    ("CONSUL_HEALTH_CHECK_INTERVAL", "0"),
    ("CONSUL_HEALTH_CHECK_TIMEOUT", "0s"),
    ("NODE_ACCESS_KEY", "a\nb"),
    ("NODE_ACCESS_KEY", "alone"),
    ("NODE_USE_SSL", "2"),
    ("DISCOVERY", "dns"),
    ("DNS_NAME", "a b"),
    ("NODES", "hush"),
    ("NODES", "a=http://k:s@h:1,a=http://k:s@h:2"),
    ("MINIO_ENDPOINT", "http://localhost:9000"),
    ("MINIO_ENDPOINT", "localhost:9000"),  # without keys
    ("MINIO_USE_SSL", "tls"),
    ("MINIO_REGION", "a b"),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_good_value_is_taken(name: str, text: str, value: object) -> None:
    environ = {**TOGETHER.get(name, {}), name: text}
    found = getattr(from_environ(environ), name.lower())
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_stops_the_start_and_names_the_variable(
    name: str, text: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environ({name: text})
    others = {("DISCOVERY", "static"): "NODES", ("DISCOVERY", "dns"): "DNS_NAME"}
    expected = others.get((name, text), name)
    assert str(refusal.value).startswith(expected + ":")


def test_every_setting_is_in_the_table_of_good_values() -> None:
    names = {setting.name.upper() for setting in dataclasses.fields(Settings)}
    assert names == {name for name, _, _ in GOOD}


def test_unset_and_empty_variables_take_their_defaults() -> None:
    names = [setting.name.upper() for setting in dataclasses.fields(Settings)]
    assert from_environ({}) == Settings()
    assert from_environ(dict.fromkeys(names, " ")) == Settings()


def test_every_default_can_be_written_into_the_environment() -> None:
    for setting in dataclasses.fields(Settings):
        default = setting.metadata["default"]
        if default != "":
            value = setting.metadata["convert"](str(default))
            assert value == getattr(Settings(), setting.name)


def test_variables_that_are_no_settings_are_nobodys_business() -> None:
    assert from_environ({"HOME": "/root", "port": "x"}) == Settings()


@pytest.mark.parametrize("text", ["gunicorn", "Gunicorn", " "])
def test_the_default_of_a_removed_setting_changes_nothing(text: str) -> None:
    assert from_environ({"SERVER": text}) == Settings()


def test_a_removed_setting_stops_the_start() -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environ({"SERVER": "granian"})
    assert str(refusal.value) == (
        "SERVER: 'granian' can't be used: granian was removed, gunicorn serves"
    )


def test_static_discovery_needs_exactly_one_list() -> None:
    for lists in ({}, {"NODES": "a=http://k:s@h:1", "NODES_FILE": "/nodes"}):
        with pytest.raises(SettingsError, match=r"^NODES"):
            from_environ({"DISCOVERY": "static", **lists})
    settings = from_environ({"DISCOVERY": "static", "NODES_FILE": "/nodes"})
    assert settings.nodes_file == "/nodes"


@pytest.mark.parametrize(
    ("variable", "given"),
    [
        ("API_TOKENS", {"API_TOKENS": "x" * 15}),
        ("API_TOKENS", {"API_TOKENS": f"{'x' * 16},y", "SIGNING_SECRET": "z" * 16}),
        ("SIGNING_SECRET", {"API_TOKENS": "x" * 16, "SIGNING_SECRET": "z" * 15}),
    ],
)
def test_signed_access_needs_secrets_that_nobody_can_guess(
    variable: str, given: dict[str, str]
) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environ({"ACCESS": "signed", **given})
    message = str(refusal.value)
    assert message.startswith(f"{variable}: ACCESS=signed needs ")
    assert "16 characters or more" in message
    assert not any(secret in message for secret in given.values())
    assert from_environ(given)  # open access does without them


def test_secrets_of_16_characters_are_taken() -> None:
    given = {"ACCESS": "signed", "API_TOKENS": "x" * 16, "SIGNING_SECRET": "z" * 16}
    assert from_environ(given).access == "signed"


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


# Secrets


def test_secrets_are_never_shown() -> None:
    settings = from_environ({"NODES": "a=http://key:hush@h:1"})
    assert "hush" not in repr(settings)
    with pytest.raises(SettingsError) as refusal:
        from_environ({"DISCOVERY": "static", "NODES": "hush", "NODES_FILE": "f"})
    assert "hush" not in str(refusal.value)


def test_what_is_secret_says_so_first() -> None:
    for setting in dataclasses.fields(Settings):
        is_secret = setting.name in SECRETS
        assert setting.metadata["meaning"].startswith("Secret") == is_secret
        assert setting.repr != is_secret


def test_an_error_of_a_plain_setting_shows_the_value() -> None:
    with pytest.raises(SettingsError, match=r"^PORT: 'x' .* from 1 to 65535$"):
        from_environ({"PORT": "x"})


# A single node


def test_a_single_nodes_endpoint_is_a_list_of_nodes() -> None:
    settings = from_environ({"MINIO_ENDPOINT": "Minio:9000", **MINIO_KEYS})
    assert settings.discovery == "static"
    assert settings.single_node == NodeSpec("minio", "http://minio:9000", "k", "s")


def test_its_keys_may_be_anything_and_its_port_be_left_out() -> None:
    settings = Settings(
        discovery="static",
        minio_endpoint="[::1]",
        minio_access_key_id="a/b@c:d",
        minio_secret_access_key="%41 ö;weight=2,=",
        minio_use_ssl=True,
        minio_region="eu-central-1",
    )
    assert settings.single_node == NodeSpec(
        "minio",
        "https://[::1]:443",
        "a/b@c:d",
        "%41 ö;weight=2,=",
        region="eu-central-1",
    )


def test_another_discovery_leaves_it_out() -> None:
    environ = {"MINIO_ENDPOINT": "minio:9000", **MINIO_KEYS, "DISCOVERY": "folders"}
    assert from_environ(environ).single_node is None
    assert Settings().single_node is None


def test_it_stands_beside_no_other_list() -> None:
    environ = {"MINIO_ENDPOINT": "minio:9000", **MINIO_KEYS, "NODES_FILE": "nodes"}
    with pytest.raises(SettingsError, match=r"^MINIO_ENDPOINT: only one of MINIO_END"):
        from_environ(environ)


# Groups


def test_group_weights_may_have_blanks() -> None:
    assert group_weights(" fast=2 ,, slow=.5,") == {"fast": 2.0, "slow": 0.5}
    assert group_weights("") == {}


def test_an_error_of_the_group_weights_says_what_was_expected() -> None:
    with pytest.raises(SettingsError, match=r"^GROUP_WEIGHTS: 'a=0' .* above 0$"):
        from_environ({"GROUP_WEIGHTS": "a=0"})


# Proxies


def test_networks_may_have_host_bits_blanks_and_both_families() -> None:
    assert networks(" 10.1.2.3/8 ,, ::1,") == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )
    assert networks("") == ()


def test_a_star_is_every_address() -> None:
    assert [str(network) for network in networks(" * ")] == ["0.0.0.0/0", "::/0"]


# The page


def test_the_page_has_the_table_of_now() -> None:
    assert settings_table() in PAGE.read_text(encoding="utf-8"), "run `make generate`"


def test_only_the_table_of_the_page_is_made_anew(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert settings_page(PAGE) == text
    old = tmp_path / "settings.md"
    old.write_text(text.replace("| `HOST` |", "| `HOSTS` |").replace("Settings", "All"))
    assert settings_page(old) == text.replace("Settings", "All")


def test_a_row_shows_name_place_unit_default_and_meaning() -> None:
    rows = {setting.name: row(setting) for setting in dataclasses.fields(Settings)}
    assert rows["folder_nodes"] == (
        "| `FOLDER_NODES` | `folder_nodes` |  | `3` | Folders: the number of nodes. |"
    )
    assert rows["port"].startswith("| `PORT` | `server.port` |  | `3000` | Port to ")
    size = "| `MAX_OBJECT_BYTES` | `max_object_bytes` | bytes | `5368709120` | "
    assert rows["max_object_bytes"].startswith(size)
    assert rows["nodes"].startswith("| `NODES` | `nodes` |  |  | Secret.")
    assert rows["log_debug"].startswith("| `LOG_DEBUG` | `log_debug` |  | `false` | ")
