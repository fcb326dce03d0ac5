"""What `amazin token` and `amazin access` say of a file, and of mistakes."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amazin.access.file import moment_of, parse_access
from amazin.access.source import content_of
from amazin.cli.main import main

DIGEST, OLD = "ab" * 32, "cd" * 32
FILE = f"""\
anonymous:
  - {{allow: [read], buckets: [public], prefix: www/}}
principals:
  ci:
    tokens: [{{sha256: {DIGEST}}}, {{sha256: {OLD}, expires: 2020-01-01}}]
    keys: [{{id: AMZCI1, secret_file: ci, expires: 2999-01-01T12:00:00+02:00}}]
    grants:
      - {{allow: [read, write, list], buckets: [builds], prefix: main/}}
      - {{allow: [read], ids: true}}
      - {{allow: [bucket], buckets: [builds]}}
  prometheus: {{grants: [{{allow: [metrics]}}]}}
  alice: {{grants: [{{allow: [admin]}}]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ci").write_text("secret-of-the-ci\n")
    file = tmp_path / "access.yaml"
    file.write_text(FILE)
    return file


def run(*arguments: str, setting: str = "") -> Result:
    environ = {"ACCESS_FILE": setting, "CONFIG": "", "API_TOKENS": ""}
    return CliRunner().invoke(main, arguments, env=environ)


# New tokens


def test_a_new_token_is_known_by_the_line_that_is_printed_with_it() -> None:
    result = run("token", "new", "ci", "--expires", "2999-03-01T12:00:00Z")
    assert result.exit_code == 0, result.output
    token, line = result.stdout.splitlines()
    assert len(token) == 47 and token.startswith("amz_")
    rules = parse_access(f"principals:\n  ci:\n    tokens:\n{line}\n", "f", str)
    assert list(rules.tokens) == [sha256(token.encode()).digest()]
    (credential,) = rules.tokens.values()
    assert credential.expires == moment_of("2999-03-01T12:00:00Z")
    assert "`tokens:` of ci" in result.stderr
    assert token not in result.stderr


def test_a_new_token_is_printed_as_json() -> None:
    first, second = (
        json.loads(run("token", "new", "ci", "--json").stdout) for _ in "12"
    )
    assert first["sha256"] == sha256(first["token"].encode()).hexdigest()
    assert (first["principal"], first["expires"]) == ("ci", None)
    assert first["token"] != second["token"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["anonymous"], "anonymous is who has no token"),
        (["c/i"], "'c/i' is no name of letters, digits and ._-"),
        (["ci", "--expires", "soon"], "--expires: expected 2027-03-01 or"),
        (["ci", "--expires", "2020-01-01"], "--expires: 2020-01-01 is over"),
    ],
)
def test_no_token_is_made_that_no_file_could_name(
    arguments: list[str], said: str
) -> None:
    result = run("token", "new", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


# Those of a file


def test_the_principals_are_listed_with_what_the_log_shows(file: Path) -> None:
    result = run("token", "list", setting=str(file))
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["ci", "token", "abababab"],
        ["ci", "token", "cdcdcdcd", "2020-01-01T00:00:00Z", "expired"],
        ["ci", "key", hash_of("AMZCI1"), "AMZCI1", "2999-01-01T10:00:00Z"],
        ["prometheus", "none"],
        ["alice", "none"],
    ]
    assert "secret-of" not in result.output


def hash_of(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:8]


def test_the_list_is_printed_as_json(file: Path) -> None:
    found = json.loads(run("token", "list", "--file", str(file), "--json").stdout)
    assert found[1] == {
        "principal": "ci",
        "kind": "token",
        "hash": "cdcdcdcd",
        "id": None,
        "expires": "2020-01-01T00:00:00Z",
        "is_expired": True,
    }


# What is permitted


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("ci write builds/main/app.zip", 8),
        ("ci list builds/main/", 8),
        ("ci read ids:k7", 9),
        ("ci bucket builds/", 10),
        ("prometheus metrics", 11),
        ("alice admin", 12),
        ("alice delete photos/cat.jpg", 12),
        ("anonymous read public/www/a", 2),
        ("ci write builds/mainly", None),
        ("ci list builds/", None),
        ("ci write ids:k7", None),
        ("ci read blobs", None),
        ("ci status", None),
        ("anonymous write public/www/a", None),
    ],
)
def test_the_answer_names_the_grant(
    file: Path, question: str, line: int | None
) -> None:
    result = run("access", "check", *question.split(), "--file", str(file))
    if line is None:
        assert (result.exit_code, result.stdout[:3]) == (1, "no ")
    else:
        assert (result.exit_code, result.stdout[:3]) == (0, "yes")
        assert result.stdout.endswith(f"{file}:{line}\n")
    as_json = run("access", "check", *question.split(), "--json", setting=str(file))
    assert as_json.exit_code == result.exit_code
    answer = json.loads(as_json.stdout)
    assert (answer["is_allowed"], answer["line"]) == (line is not None, line)


def test_a_principal_that_can_not_show_itself_is_told_of(file: Path) -> None:
    said = run("access", "check", "alice", "status", "--file", str(file)).stderr
    assert said == "alice has no token and no key that is valid now\n"
    assert not run("access", "check", "ci", "status", "--file", str(file)).stderr


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("cii read builds/a", "There is no principal 'cii'. Did you mean 'ci'?"),
        ("bob read builds/a", "Known: ci, prometheus, alice, anonymous"),
        ("ci raed builds/a", "There is no action 'raed'. Did you mean 'read'?"),
        ("ci read", "The place is missing"),
        ("ci read builds", "the whole bucket is builds/"),
        ("ci read B/a", "B: "),
        ("ci status builds/", "give no place"),
        ("ci bucket builds/main/", "bucket concerns whole buckets: builds/"),
        ("ci list ids:", "Nothing there asks for list"),
        ("ci delete blobs", "Nothing there asks for delete"),
    ],
)
def test_a_question_that_makes_no_sense_is_a_mistake(
    file: Path, question: str, said: str
) -> None:
    result = run("access", "check", *question.split(), "--file", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    "command", [["token", "list"], ["access", "check", "ci", "status"]]
)
def test_a_wrong_file_is_a_mistake(file: Path, command: list[str]) -> None:
    result = run(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--file, or the setting ACCESS_FILE" in result.stderr
    file.write_text(content_of(file).replace("allow: [bucket]", "allow: [buckets]"))
    result = run(*command, "--file", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{file}:10: expected any of read, write")
    result = run(*command, setting=str(file.with_name("none")))
    assert result.exit_code == 2
    assert "none: No such file" in result.stderr
