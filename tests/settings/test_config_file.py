"""What the configuration file promises: who goes first, what stops the start, how."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from amazin.errors import SettingsError
from amazin.model.node_specs import NodeSpec
from amazin.settings import converters
from amazin.settings.config_file import (
    MOST_BYTES,
    defaults_text,
    load,
    load_settings,
    remarks,
    write_defaults,
)
from amazin.settings.file_parser import parse
from amazin.settings.load import FIELDS, SECTIONS, from_given, misspelt
from amazin.settings.settings import Settings
from tests.support.paths import PROJECT

EXISTING = """\
instance_id: ""
log_level: "info"
request_timeout: 30s
server:
  host: ""
  port: 8082
consul:
  enabled: true
  address: "localhost:8500"
  registration:
    service_name: "storage-service"
    service_id_prefix: "storage-svc-"
    service_tags:
      - "storage"
      - "v1"
    health_check_path: "/health"
    health_check_interval: 10s
    health_check_timeout: 5s
minio:
  endpoint: "localhost:9000"
  accessKeyID: "key"
  secretAccessKey: "hush/hush@:%"
  useSSL: false
  region: "eu-central-1"
  defaultBucket: "default"
  autoCreateDefaultBucket: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def read(file: Path, text: str, **environ: str) -> Settings:
    """Return what a gateway with this file would be told."""
    file.write_text(text, encoding="utf-8")
    return load_settings({"CONFIG": str(file), **environ})


def refusal(file: Path, text: str, **environ: str) -> str:
    """Return why it does not start, with the name of the file left out."""
    with pytest.raises(SettingsError) as caught:
        read(file, text, **environ)
    message = str(caught.value)
    assert message.startswith(f"{file}:"), message
    return message.removeprefix(f"{file}:")


# Reading


def test_a_file_as_it_is_in_use_is_understood(file: Path) -> None:
    assert read(file, EXISTING) == Settings(
        port=8082,
        request_timeout=30.0,
        discovery="static",
        consul_enabled=True,
        consul_service_tags=("storage", "v1"),
        consul_health_check_path="/health",
        minio_endpoint="localhost:9000",
        minio_access_key_id="key",
        minio_secret_access_key="hush/hush@:%",
        minio_region="eu-central-1",
    )


def test_its_single_node_is_the_cluster(file: Path) -> None:
    node = read(file, EXISTING).single_node
    assert node is not None
    assert (node.name, node.endpoint) == ("minio", "http://localhost:9000")
    assert (node.access_key, node.secret_key) == ("key", "hush/hush@:%")
    assert node.region == "eu-central-1"
    secure = read(file, EXISTING, MINIO_USE_SSL="true").single_node
    assert secure is not None
    assert secure.endpoint == "https://localhost:9000"


def test_a_single_node_can_be_filled_into_a_file_that_was_written(file: Path) -> None:
    text = defaults_text().replace('  #endpoint: ""', "  endpoint: localhost:9000")
    text = text.replace('#accessKeyID: ""', "accessKeyID: key")
    text = text.replace('#secretAccessKey: ""', "secretAccessKey: hush")
    settings = read(file, text)
    assert settings.discovery == "static"
    assert settings.single_node
    assert settings.single_node.endpoint == "http://localhost:9000"


def test_a_discovery_that_is_named_goes_before_the_single_node(file: Path) -> None:
    settings = read(file, EXISTING, DISCOVERY="docker")
    assert (settings.discovery, settings.single_node) == ("docker", None)


def test_the_environment_goes_first(file: Path) -> None:
    text = "replicas: 2\nserver: {port: 8082}\n"
    assert read(file, text).replicas == 2
    settings = read(file, text, REPLICAS="3", PORT=" ")
    assert (settings.replicas, settings.port) == (3, 8082)


FORMS = [
    ("request_timeout: 1m30s", {"request_timeout": 90.0}),
    ("request_timeout: 500ms", {"request_timeout": 0.5}),
    ("request_timeout: 15", {"request_timeout": 15.0}),
    ("max_object_bytes: 1GiB", {"max_object_bytes": 2**30}),
    ("max_object_bytes: 1024", {"max_object_bytes": 1024}),
    ("log_debug: yes", {"log_debug": True}),
    ("log_level: warn", {"log_level": "warning"}),
    ("minio: {autoCreateDefaultBucket: off}", {"auto_create_default_bucket": False}),
    ("minio: {defaultBucket: no-no}", {"default_bucket": "no-no"}),
    ("forwarded_allow_ips: [10.0.0.0/8, '::1']", {"forwarded_allow_ips": None}),
    ("{replicas: '2', workers: 4}", {"replicas": 2, "workers": 4}),
    ("server: {kind: gunicorn}", {}),
    ("data_dir: >-\n  /srv/my\n  objects\n", {"data_dir": "/srv/my objects"}),
    ("\ufeffreplicas: 2  # a remark\r\n", {"replicas": 2}),
    ("---\nreplicas: 2\n...\n", {"replicas": 2}),
    ("", {}),
    ("---", {}),
    ("# nothing\n", {}),
    ("server:\nconsul: ~\nreplicas: null\nworkers:\nnodes: []\n", {}),
    ("server: {host: ''}", {"host": "0.0.0.0"}),
]


@pytest.mark.parametrize(("text", "values"), FORMS)
def test_values_are_written_as_people_do(
    file: Path, text: str, values: dict[str, object]
) -> None:
    if "forwarded_allow_ips" in values:
        values = {"forwarded_allow_ips": converters.networks("10.0.0.0/8,::1")}
    assert read(file, text) == replace(Settings(), **values)  # type: ignore[arg-type]


def test_nodes_may_be_a_list(file: Path) -> None:
    text = """\
discovery: static
nodes:
  - node-1=http://key:hush@10.0.0.1:9000
  - node-2=http://key:hush@10.0.0.2:9000;weight=2
"""
    assert read(file, text).nodes == (
        NodeSpec("node-1", "http://10.0.0.1:9000", "key", "hush"),
        NodeSpec("node-2", "http://10.0.0.2:9000", "key", "hush", 2.0),
    )


# What stops the start

WRONG = [
    ("replcas: 2", r"1: replcas: there is no such setting; perhaps replicas is meant"),
    ("\nport: 8082", r"2: port: there is no such setting; perhaps server.port is m"),
    ("PORT: 8082", r"1: PORT: there .* perhaps server.port is meant"),
    ("minio_endpoint: a:1", r"1: minio_endpoint: .* perhaps minio.endpoint is meant"),
    ("minio:\n  accessKeyId: k", r"2: minio.accessKeyId: .* minio.accessKeyID is m"),
    ("sever: {port: 1}", r"1: sever: there .* perhaps server is meant"),
    ("server: {colour: red}", r"1: server.colour: there is no such setting"),
    ("qqq: 1", r"1: qqq: there is no such setting$"),
    ('"": 1', r"1: a setting without a name: there is no such setting$"),
    ('"\\a\\e": 1', r"1: '\\x07\\x1b': there is no such setting$"),
    ("x" * 100 + ": 1", r"1: x{60}\.\.\.: there is no such setting$"),
    ("http://u:hush@h: 1", r"1: http://\(hidden\)@h: there is no such setting$"),
    ("<<: {replicas: 2}", r"1: <<: there is no such setting"),
    (
        'server:\n  port: "abc"',
        r"2: server.port: 'abc' can't be used: expected a whole number from 1 to 65535",
    ),
    (
        "server:\n  kind: granian",
        r"2: server.kind: 'granian' can't .* granian was removed, gunicorn serves$",
    ),
    ("server: {port: true}", r"1: server.port: 'true' can't .* a whole number"),
    ("server: {port: 8082.5}", r"1: server.port: '8082.5' can't .* a whole number"),
    ("server: {port: 0x50}", r"1: server.port: '0x50' can't .* a whole number"),
    ("server: {port: [1]}", r"1: server.port: expected one value, not a list"),
    ("instance_id: {a: b}", r"1: instance_id: expected one value, not a section"),
    ("log_level: [info]", r"1: log_level: expected one value, not a list"),
    ("log_debug: maybe", r"1: log_debug: 'maybe' can't be used: expected true or fal"),
    ("request_timeout: soon", r"1: request_timeout: 'soon' .* as 30s, 1m30s, 500ms"),
    ("request_timeout: -1s", r"1: request_timeout: '-1s' .* expected seconds"),
    ("refresh_seconds: 0s", r"1: refresh_seconds: '0s' .* above 0"),
    ("max_object_bytes: lots", r"1: max_object_bytes: 'lots' .* expected bytes"),
    ("max_object_bytes: 6GiB", r"1: max_object_bytes: nodes take at most 5 GiB"),
    ("minio: {useSSL: 2}", r"1: minio.useSSL: '2' .* expected true or false"),
    ('data_dir: "a\\0b"', r"1: data_dir: 'a\\x00b' .* expected a path"),
    ('data_dir: "\\ud800"', r"1: data_dir: '\\ud800' .* expected a path"),
    ('instance_id: "a\\nb"', r"1: instance_id: .* letters, digits"),
    ("nodes: [[a]]", r"1: nodes: expected a list of values"),
    ("nodes: ['a,b']", r"1: nodes: a value in a list can't hold a comma"),
    ("server: 8082", r"1: server: expected a section with any of host, port$"),
    ("consul: [x]", r"1: consul: expected a section with any of .*registration"),
    ("replicas: 2\n\nreplicas: 2", r"3: replicas: stands here twice: .* in line 1"),
    ("server: {port: 1}\nserver: {}", r"2: server: stands here twice: .* in line 1"),
    ("server: {port: 1}\nserver.port: 2", r"2: server.port: stands here twice"),
    ("[1, 2]", r"1: expected settings, one a line"),
    ("replicas", r"1: expected settings, one a line"),
    ("[a]: 1", r"1: expected the name of a setting"),
    ("? {a: b}\n: 1", r"1: expected the name of a setting"),
    ("server:\n\tport: 1", r"2: this is not YAML: a tab; indent with blanks"),
    ("log_level: b: c", r"1: this is not YAML: mapping values are not allowed here"),
    ("\nreplicas: 'x", r"\d: this is not YAML: found unexpected end of stream"),
    ("server: {port: 1", r"\d: this is not YAML: "),
    ("replicas: 2\n  workers: 1", r"2: this is not YAML: "),
    ("\n\nreplicas: \x01", r"3: this is not YAML: a control character"),
    ("replicas: 2\n---\nworkers: 1", r"2: a second document begins; expected one"),
    ("replicas: &a 2", r"1: anchors \(&\) and aliases \(\*\) can't be used"),
    ("workers: 1\nreplicas: *a", r"2: anchors \(&\) and aliases \(\*\) can't be used"),
    ("replicas: !!int 2", r"1: tags \(!\) can't be used"),
    ("data_dir: !!python/object/apply:os.system [id]", r"1: tags \(!\) can't be used"),
    ("data_dir: !a!b c", r"1: this is not YAML: a tag can't be used"),
    ('data_dir: "\\U00110000"', r"1: this is not YAML"),
    ("%YAML 1." + "9" * 5000 + "\n---\n", r"1: this is not YAML"),
    ("%YAML 2.0\n---\n", r"1: this is not YAML: found incompatible"),
    ("\n" + "[" * 100_000, r"2: this is not YAML: it is nested too deeply"),
    ("server: " + "{a: " * 10_000, r"1: this is not YAML: it is nested too deeply"),
    ("- " * 10_000, r"1: this is not YAML: it is nested too deeply"),
    ("nodes: [" + "[], " * 10_000 + "]", r"1: nodes: expected a list of values"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_stops_the_start_and_says_where(
    file: Path, text: str, message: str
) -> None:
    assert re.match(message, refusal(file, text))


CONTRADICTIONS: list[tuple[str, Mapping[str, str], str]] = [
    ("\ndiscovery: static", {}, r"2: discovery: DISCOVERY=static needs NODES, NODES_F"),
    (
        "discovery: static\nnodes: [a=http://k:s@h:1]\nnodes_file: f",
        {},
        r"3: nodes_file: only one of NODES and NODES_FILE can say who the nodes are",
    ),
    (EXISTING, {"NODES": "a=http://k:s@h:1"}, r"20: minio.endpoint: only one of MIN"),
    (EXISTING, {"NODES_FILE": "f"}, r"20: minio.endpoint: only one of MINIO_ENDPOINT"),
    (
        "nodes: [a=http://k:s@h:1]",
        {"MINIO_ENDPOINT": "h:1"},
        r"1: nodes: only one of MINIO_ENDPOINT and NODES can say",
    ),
    ("minio:\n  endpoint: h:1", {}, r"2: minio.endpoint: needs MINIO_ACCESS_KEY_ID"),
    (
        "access: signed",
        {},
        r"1: access: ACCESS=signed needs ACCESS_FILE, API_TOK",
    ),
    ("access: signed\napi_tokens: ' , '", {}, r"1: access: ACCESS=signed needs"),
    ("presign: direct", {"DISCOVERY": "folders"}, r"1: presign: PRESIGN=direct needs"),
    ("presign: direct", {"CHUNK_BYTES": "1MiB"}, r"1: presign: PRESIGN=direct: no one"),
    ("discovery: dns", {}, r"1: discovery: DISCOVERY=dns needs DNS_NAME"),
    ("node_access_key: k", {}, r"1: node_access_key: NODE_ACCESS_KEY and NODE_SECRET"),
]


@pytest.mark.parametrize(("text", "environ", "message"), CONTRADICTIONS)
def test_contradictions_name_the_line_in_the_file(
    file: Path, text: str, environ: Mapping[str, str], message: str
) -> None:
    assert re.match(message, refusal(file, text, **environ))


def test_what_the_environment_overrides_must_be_right_all_the_same(file: Path) -> None:
    assert refusal(file, "replicas: two", REPLICAS="2").startswith("1: replicas: 'two'")


def test_a_wrong_variable_is_named_as_one(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"^REPLICAS: 'two' can't be used"):
        read(file, "replicas: 2", REPLICAS="two")


SECRETS = sorted(name for name, field in FIELDS.items() if not field.repr)


@pytest.mark.parametrize("place", SECRETS)
@pytest.mark.parametrize(
    "value",
    ["hush hush\\n", "!hush!hush x", "*hush", "&hush x", "{hush: 1}", "'hush", "|hush"],
)
def test_errors_show_no_secret(file: Path, place: str, value: str) -> None:
    *sections, name = place.split(".")
    quoted = f'"{value}\\u0001"' if value.endswith("\\n") else value
    text = "".join(f"{section}: {{" for section in sections) + f"{name}: {quoted}"
    message = refusal(file, text + "}" * len(sections))
    assert "hush" not in message


# The file itself


def test_without_a_file_the_environment_is_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({"REPLICAS": "2", "CONFIG": ""}) == Settings(replicas=2)
    assert list(tmp_path.iterdir()) == []


def test_the_usual_file_counts_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.yaml").write_text("replicas: 2\nworkers: x")
    with pytest.raises(
        SettingsError, match=r"^/.*/configs/config\.yaml:2: workers: 'x'"
    ):
        load_settings({})
    (tmp_path / "other").write_text("replicas: 3")
    assert load_settings({"CONFIG": "other"}) == Settings(replicas=3)


@pytest.mark.parametrize("name", ["new/config.yaml", "~/config.yaml", "config.yam"])
def test_a_file_that_is_named_and_missing_stops_the_start_and_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "config.yml").write_text("access: signed")
    with pytest.raises(SettingsError) as caught:
        load_settings({"CONFIG": name, "PORT": "3000"})
    path = name.replace("~", f"{tmp_path}/home")
    path = path if path.startswith("/") else f"{tmp_path}/{path}"
    hint = f"; perhaps {tmp_path}/config.yml is meant" if name == "config.yam" else ""
    assert str(caught.value) == (
        f"CONFIG: there is no file {path}{hint}; `amazin config --write` writes one"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["config.yml"]


def test_a_written_file_says_what_holds_without_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "config.yaml"
    write_defaults(file)
    settings, given = load({"CONFIG": str(file)})
    assert settings == Settings(port=8082)
    assert given.keys() == {"port"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]
    line = file.read_text().splitlines().index("  port: 8082") + 1
    assert given["port"].file_line == f"{file}:{line}"


def test_the_written_file_has_every_setting_and_its_meaning() -> None:
    text = without_marks(defaults_text())
    tree = yaml.safe_load(text)
    for place, field in FIELDS.items():
        branch = tree
        for part in place.split("."):
            branch = branch[part]
        assert f"# {field.name.upper()}: " in text
    assert max(map(len, text.splitlines())) <= 88
    for place, field in FIELDS.items():
        has_default = field.metadata["default"] != ""
        assert not has_default or field.name in parse(text, ""), place


def without_marks(text: str) -> str:
    """Return the file as it is when each # in front of a setting was removed."""
    return re.sub(r"^( *)#(\w+:)", r"\1\2", text, flags=re.MULTILINE)


def test_a_file_that_is_there_is_never_written(file: Path) -> None:
    read(file, "replicas: 2")
    assert file.read_text() == "replicas: 2"
    file.write_text("")
    assert load_settings({"CONFIG": str(file)}) == Settings()
    assert file.read_text() == ""


def test_of_many_that_write_one_file_at_once_one_does(file: Path) -> None:
    def write(_: int) -> bool:
        with suppress(FileExistsError):
            write_defaults(file)
            return True
        return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(write, range(40))) == 1
    assert file.read_text() == defaults_text()
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]


def test_what_is_no_readable_text_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    bad = {
        "is not a file": file.mkdir,
        r":2: this is not UTF-8 text": lambda: file.write_bytes(b"a: b\n\xff"),
        f"is longer than {MOST_BYTES} bytes": lambda: file.write_text(
            "#" * (MOST_BYTES + 1)
        ),
        "can't be read: No such file": lambda: file.symlink_to("nowhere"),
    }
    for message, make in bad.items():
        make()
        with pytest.raises(SettingsError, match=message):
            load_settings({"CONFIG": str(file)})
        file.rmdir() if file.is_dir() else file.unlink()


def test_a_pipe_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(SettingsError, match="is not a file"):
        load_settings({"CONFIG": str(file)})


def test_a_file_that_cannot_be_read_stops_the_start(file: Path) -> None:
    file.symlink_to(file)
    with pytest.raises(SettingsError, match=r"^CONFIG: .* can't be read: "):
        load_settings({"CONFIG": str(file)})


# Hostile text

WORDS = [*FIELDS, *SECTIONS, *(place.rpartition(".")[2] for place in FIELDS)]
PIECES = st.one_of(
    st.sampled_from([f"{word}: " for word in WORDS]),
    st.sampled_from(
        [
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            ",",
            ": ",
            "&a ",
            "*a",
            "!t ",
            "|\n",
            ">\n",
            "'",
            '"',
            "# ",
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "\t",
            "? ",
            "<<: ",
            "~",
            "\\",
            "\\x",
            "\\U",
            "\\ud800",
            "0",
            "30s",
            "5GiB",
            "true",
            "static",
            "a=http://k:s@h:1",
            "localhost:9000",
            "@",
            "`",
            "%",
            "é",
        ]
    ),
    st.text(max_size=8),
)


@given(st.lists(PIECES, max_size=30).map("".join))
@example("%TAG ! \ud7ff\n---\n")
@example("%YAML 1.1111111111111111111\n--- \n")
@example('server: {port: "\\xZZ"}')
@example("discovery: consul\naccess: signed\nsigning_secret: 12345678")
def test_any_text_is_settings_or_an_error_that_says_why(text: str) -> None:
    with suppress(SettingsError):
        found = from_given(parse(text, "config.yaml"))
        assert isinstance(found, Settings)


@given(st.binary(max_size=60))
def test_any_bytes_are_settings_or_an_error(content: bytes) -> None:
    path = Path(f"/proc/self/fd/{_memory_file(content)}")
    try:
        with suppress(SettingsError):
            assert isinstance(load_settings({"CONFIG": str(path)}), Settings)
    finally:
        os.close(int(path.name))


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("config")
    os.write(descriptor, content)
    return descriptor


def test_every_value_survives_the_way_through_a_file(file: Path) -> None:
    names = {field.name for field in fields(Settings)}
    assert {field.name for field in FIELDS.values()} == names
    text = without_marks(defaults_text())
    assert read(file, text) == replace(Settings(), port=8082)


# What is not for us, and what was not filled in


FOREIGN = [
    {"DISCOVERY": "folders", "DOCKER_HOST": "ssh://h"},
    {"DISCOVERY": "folders", "NODE_PORT": "tcp://10.0.0.1:9000"},
    {"DISCOVERY": "folders", "NODE_ACCESS_KEY": "one of two"},
    {"DISCOVERY": "folders", "NODES": "web,mail"},
    {"DISCOVERY": "folders", "CONSUL_ADDRESS": "http://consul/ui"},
    {"DISCOVERY": "folders", "CONSUL_SERVICE_NAME": "two words"},
    {"DISCOVERY": "folders", "MINIO_ENDPOINT": "http://minio:9000/"},
    {"DISCOVERY": "docker", "FOLDER_NODES": "many", "DNS_NAME": "a b"},
    {"DISCOVERY": "dns", "DNS_NAME": "h", "DOCKER_HOST": "ssh://h", "NODES": "x"},
]


@pytest.mark.parametrize("environ", FOREIGN)
def test_variables_of_a_discovery_that_is_not_used_are_not_judged(
    environ: Mapping[str, str],
) -> None:
    settings = load_settings(environ)
    expected = {"discovery": environ["DISCOVERY"]}
    if "dns" in expected.values():
        expected["dns_name"] = "h"
    assert settings == replace(Settings(), **expected)  # type: ignore[arg-type]


USED = [
    {"DOCKER_HOST": "none"},
    {"DISCOVERY": "docker", "NODE_PORT": "tcp://10.0.0.1:9000"},
    {"DISCOVERY": "dns", "DNS_NAME": "h", "NODE_PORT": "tcp://10.0.0.1:9000"},
    {"DISCOVERY": "dns", "DNS_NAME": "h", "NODE_ACCESS_KEY": "one of two"},
    {"DISCOVERY": "static", "NODES": "web,mail"},
    {"DISCOVERY": "folders", "FOLDER_NODES": "many"},
    {"DISCOVERY": "consul", "CONSUL_ADDRESS": "http://consul/ui"},
    {
        "DISCOVERY": "folders",
        "CONSUL_ENABLED": "1",
        "CONSUL_ADDRESS": "http://consul/ui",
    },
    {"DISCOVERY": "my.own:Nodes", "NODE_PORT": "tcp://10.0.0.1:9000"},
]


@pytest.mark.parametrize("environ", USED)
def test_variables_that_are_used_are_judged(environ: Mapping[str, str]) -> None:
    with pytest.raises(SettingsError, match=f"^{list(environ)[-1]}: "):
        load_settings(environ)


def test_a_file_is_ours_so_all_of_it_is_judged(file: Path) -> None:
    said = refusal(file, "docker_host: none", DISCOVERY="folders")
    assert said.startswith("1: docker_host: 'none' can't be used: ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("ACCES", "ACCESS"), ("API_TOKEN", "API_TOKENS"), ("REPLICA", "REPLICAS")),
        *(("DATADIR", "DATA_DIR"), ("access", "ACCESS"), ("WORKER", "WORKERS")),
        ("MINIO_ACCESS_KEY", "MINIO_ACCESS_KEY_ID"),
    ],
)
def test_a_variable_that_is_almost_a_setting_is_mentioned(
    name: str, meant: str
) -> None:
    said = f"{name} is set, but is no setting; perhaps {meant} is meant"
    assert misspelt({name: "signed", meant: "open"}) == [said]


def test_variables_of_others_are_not_mentioned() -> None:
    names = "HOME HOSTNAME USER PATH NODE_ENV NODE_PATH SHELL TERM LANG LOGNAME PWD"
    names += " CONSUL_HTTP_ADDR CONSUL_SERVICE_PORT NODE_PORT_9000_TCP DOCKER_CERT_PATH"
    assert misspelt(dict.fromkeys([*names.split(), *SETTING_NAMES], "x")) == []


def test_a_file_that_is_almost_named_as_the_usual_one_is_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.example.yaml").touch()
    assert list(remarks({})) == []
    (tmp_path / "configs" / "config.yml").touch()
    folder = tmp_path / "configs"
    said = (
        f"there is no file {folder}/config.yaml; perhaps {folder}/config.yml is meant"
    )
    assert list(remarks({})) == [said]
    (tmp_path / "configs" / "config.yaml").touch()
    assert list(remarks({})) == []


SETTING_NAMES = [field.name.upper() for field in FIELDS.values()]


@pytest.mark.parametrize("name", ["API_TOKENS", "DATA_DIR", "NODE_SECRET_KEY"])
def test_quotes_that_nobody_removed_are_refused(name: str) -> None:
    for quoted in ('"a-long-enough-token"', "'a-long-enough-token'"):
        with pytest.raises(SettingsError, match=f"^{name}: .*without the quotes"):
            load_settings({name: quoted})
    assert load_settings({"API_TOKENS": '"'}).api_tokens == ('"',)


UNFILLED = [
    *("${TOKENS}", "${TOKENS:-a}", "$TOKENS", "$(cat tokens)", "{{ tokens }}"),
    *("a-long-enough-token-1234,${SECOND}", "a-long-enough-token-1234,$SECOND"),
]


@pytest.mark.parametrize("text", UNFILLED)
def test_what_was_to_be_filled_in_is_never_the_value(file: Path, text: str) -> None:
    said = refusal(file, f"api_tokens: '{text}'\naccess: signed")
    assert said.startswith("1: api_tokens: can't be used: expected the value itself")
    with pytest.raises(SettingsError, match=r"^API_TOKENS: can't .* the value itself"):
        load_settings({"API_TOKENS": text})


def test_a_node_whose_keys_were_to_be_filled_in_is_refused(tmp_path: Path) -> None:
    for keys in ("$KEY:$SECRET", "${KEY}:hush", "key:$SECRET"):
        with pytest.raises(ValueError, match="expected the value itself"):
            converters.nodes(f"a=http://{keys}@h:1")


def test_dollars_in_secrets_are_dollars() -> None:
    for text in ("pa$$word-pa$$word", "$ecret-$ecret-$ecret", "A$B-16-letters-or-more"):
        assert load_settings({"API_TOKENS": text}).api_tokens == (text,)


def test_paths_begin_at_a_home_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = load_settings({"DATA_DIR": "~/data", "SPOOL_DIR": "~"})
    assert (found.data_dir, found.spool_dir) == (f"{tmp_path}/data", str(tmp_path))
    with pytest.raises(SettingsError, match=r"^DATA_DIR: '~nobody-here/x' can't be"):
        load_settings({"DATA_DIR": "~nobody-here/x"})


# Under a real start


@pytest.mark.parametrize(
    "program", ["import wsgi", "from amazin.serving.start import main; main()"]
)
def test_a_wrong_file_ends_the_start_with_one_sentence(
    file: Path, program: str
) -> None:
    file.write_text("replicas: 2\nsigning_secret: hush\n")
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "CONFIG": str(file)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    expected = f"Settings: {file}:2: signing_secret: can't be used: expected 8 charac"
    assert ended.returncode == 1
    assert ended.stderr.startswith(expected)
    assert len(ended.stderr.splitlines()) == 1
