"""What `amazin config` shows, and what it never does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amazin.cli.main import main
from amazin.settings.load import FIELDS

HUSH = "hush-hush-hush"
FILE = f"""\
replicas: 2
server:
  port: 8082
minio:
  endpoint: "[::1]:9000"
  accessKeyID: {HUSH}
  secretAccessKey: {HUSH}
refresh_seconds: 2m
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(FILE)
    return file


def run(environ: Mapping[str, str], *options: str) -> Result:
    """Run it with settings that are these alone."""
    names = [field.name.upper() for field in FIELDS.values()]
    clean = dict.fromkeys([*names, "CONFIG"], "")
    return CliRunner().invoke(main, ["config", *options], env={**clean, **environ})


def cells(result: Result) -> dict[str, list[str]]:
    """Return the words of each row by its first."""
    assert result.exit_code == 0, result.output
    return {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}


def test_each_setting_has_value_unit_and_origin(file: Path) -> None:
    shown = cells(run({"CONFIG": str(file), "PORT": "3001", "WORKERS": "4"}))
    assert shown["setting"] == ["value", "unit", "origin"]
    assert shown["PORT"] == ["3001", "environment", "PORT"]
    assert shown["WORKERS"] == ["4", "environment", "WORKERS"]
    assert shown["REPLICAS"] == ["2", f"{file}:1"]
    assert shown["REFRESH_SECONDS"] == ["120.0", "s", f"{file}:8"]
    assert shown["MINIO_ENDPOINT"] == ["[::1]:9000", f"{file}:5"]
    assert shown["LOG_DEBUG"] == ["false", "default"]
    assert shown["INSTANCE_ID"] == ["default"]
    assert len(shown) == len(FIELDS) + 1


def test_what_follows_from_another_setting_says_from_which(file: Path) -> None:
    assert cells(run({"CONFIG": str(file)}))["DISCOVERY"] == ["static", f"{file}:5"]
    variables = {"MINIO_ENDPOINT": "h:1", "MINIO_ACCESS_KEY_ID": "k"}
    shown = cells(run({**variables, "MINIO_SECRET_ACCESS_KEY": HUSH}))
    assert shown["DISCOVERY"] == ["static", "environment", "MINIO_ENDPOINT"]


def test_json_has_the_same(file: Path) -> None:
    result = run({"CONFIG": str(file), "LOG_DEBUG": "yes"}, "--json")
    shown = json.loads(result.stdout)
    assert list(shown) == [field.name.upper() for field in FIELDS.values()]
    assert shown["REPLICAS"] == {
        "value": 2,
        "unit": "",
        "origin": f"{file}:1",
        "place": "replicas",
    }
    assert shown["LOG_DEBUG"]["value"] is True
    assert shown["PORT"]["place"] == "server.port"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_secrets_that_are_set_are_hidden(file: Path, options: tuple[str, ...]) -> None:
    secrets = {
        "API_TOKENS": HUSH,
        "SIGNING_SECRET": HUSH,
        "CONSUL_TOKEN": HUSH,
        "NODE_ACCESS_KEY": HUSH,
        "NODE_SECRET_KEY": HUSH,
    }
    output = run({"CONFIG": str(file), **secrets}, *options).output
    assert output.count("(hidden)") == len(secrets) + 2
    assert HUSH not in output
    nodes = {"DISCOVERY": "static", "NODES": f"a=http://k:{HUSH}@h:1"}
    output = run(nodes, *options).output
    assert output.count("(hidden)") == 1
    assert HUSH not in output


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_credentials_inside_a_url_are_hidden(options: tuple[str, ...]) -> None:
    output = run({"DOCKER_HOST": f"tcp://me:{HUSH}@/{HUSH}@proxy:1"}, *options).output
    assert "tcp://(hidden)@proxy:1" in output
    assert HUSH not in output


@pytest.mark.parametrize("scheme", ["", "HTTP://"])
@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_no_error_shows_credentials_inside_a_url(field: Field, scheme: str) -> None:
    result = run({field.name.upper(): f"{scheme}me:{HUSH}@h/{HUSH}\n@proxy:1 x"})
    assert HUSH not in result.output


def test_a_wrong_setting_is_one_sentence_and_exit_code_2(file: Path) -> None:
    file.write_text("replicas: two")
    result = run({"CONFIG": str(file)})
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"Settings: {file}:1: replicas: 'two'")
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    result = run({"CONFIG": str(tmp_path / "new.yaml")})
    assert result.exit_code == 2
    assert result.stderr.startswith("Settings: CONFIG: there is no file ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_named_by_config", [True, False])
def test_a_new_file_is_written_where_it_was_asked_for(
    tmp_path: Path, is_named_by_config: bool
) -> None:
    file = tmp_path / "new.yaml"
    if is_named_by_config:
        result = run({"CONFIG": str(file)}, "--write")
    else:
        result = run({}, "--write", str(file))
    assert result.exit_code == 0
    assert result.output == f"Wrote {file}; gateways read it with CONFIG={file}\n"
    shown = cells(run({"CONFIG": str(file)}))
    assert shown["PORT"][0] == "8082"
    assert shown["PORT"][1].startswith(f"{file}:")
    assert shown["CONSUL_NODES_SERVICE"][-1] == "default"


def test_without_a_name_the_usual_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run({}, "--write").exit_code == 0
    assert (tmp_path / "configs" / "config.yaml").is_file()
    assert cells(run({}))["PORT"][0] == "8082"


def test_no_file_is_overwritten(file: Path) -> None:
    result = run({}, "--write", str(file))
    assert result.exit_code == 1
    assert result.stderr == f"{file} is there already, and stays as it is\n"
    assert file.read_text() == FILE


@pytest.mark.parametrize("path", ["/proc/x", "/dev/null/x"])
def test_a_file_that_cannot_be_written_is_an_error(path: str) -> None:
    result = run({}, "--write", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path} can't be written: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_name_that_is_almost_a_setting_is_mentioned() -> None:
    result = run({"ACCES": "signed"})
    assert result.exit_code == 0
    assert result.stderr == "ACCES is set, but is no setting; perhaps ACCESS is meant\n"


def test_paths_are_shown_from_the_root_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = {"DATA_DIR": "../data", "SPOOL_DIR": "~/spool", "DISCOVERY": "folders"}
    shown = cells(run(settings))
    assert shown["DATA_DIR"][0] == str(tmp_path.parent / "data")
    assert shown["SPOOL_DIR"][0] == str(tmp_path / "home" / "spool")
    assert shown["NODES_FILE"] == ["default"]
    assert cells(run({}))["DATA_DIR"][0] == str(tmp_path / "data")


@pytest.mark.parametrize("text", ["ssh://me@h", "unix:///sock"])
def test_what_is_set_but_not_used_says_so(text: str) -> None:
    result = run({"DISCOVERY": "folders", "DOCKER_HOST": text}, "--json")
    shown = json.loads(result.stdout)["DOCKER_HOST"]
    assert shown["value"] == text.replace("me@", "(hidden)@")
    assert shown["origin"] == "environment DOCKER_HOST, not used"
