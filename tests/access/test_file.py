"""What an access file says, and what is refused: with its line, and no secret."""

from __future__ import annotations

from hashlib import sha256

import pytest

from amazin.access.file import parse_access
from amazin.access.grants import ANY, LIST, METRICS, READ, WRITE, Place
from amazin.access.rules import Rules
from amazin.errors import SettingsError

DIGEST = "ab" * 32
WHOLE_FILE = f"""\
anonymous:
  - {{allow: [read], buckets: [public], prefix: www/}}
principals:
  ci:
    tokens: [{{sha256: {DIGEST}, expires: 2027-03-01}}, {{sha256: {"cd" * 32}}}]
    keys: [{{id: AMZCI1, secret_file: ci}}]
    grants:
      - {{allow: [read, write, list], buckets: [builds], prefix: main/}}
      - {{allow: [read], ids: true}}
  prometheus: {{tokens: [{{sha256: {"ef" * 32}}}], grants: [{{allow: [metrics]}}]}}
cors: [{{buckets: [public], origins: ["https://app.example.com"], methods: [GET]}}]
"""


def secret_of(name: str) -> str:
    """Return what a file with a secret holds."""
    if name == "ci":
        return "secret-of-the-ci\n"
    raise ValueError("No such file or directory")


def parsed(text: str) -> Rules:
    """Return the rules in a text."""
    return parse_access(text, "access.yaml", secret_of)


def test_a_file_has_principals_credentials_and_pages() -> None:
    rules = parsed(WHOLE_FILE)
    first = rules.tokens[bytes.fromhex(DIGEST)]
    assert (first.principal.name, first.expires) == ("ci", 1803859200)
    assert rules.keys["AMZCI1"].secret == "secret-of-the-ci"
    assert rules.principals["prometheus"].may(METRICS, Place("cluster"))
    assert rules.anonymous.may(READ, Place("objects", "public", "www/a"))
    rule = rules.cors_rule("https://APP.example.com", "GET", Place("objects", "public"))
    assert rule is rules.cors[0]
    assert not rules.cors_rule("https://app.example.com", "PUT", Place("objects", "x"))


@pytest.mark.parametrize(
    ("action", "place", "is_allowed"),
    [
        (READ, Place("objects", "builds", "main/a"), True),
        (READ, Place("objects", "builds", "main"), False),
        (READ, Place("objects", "builds", "maint/a"), False),
        (READ, Place("objects", "builds", "other/main/a"), False),
        (LIST, Place("objects", "builds", ""), False),
        (LIST, Place("objects", "builds", "main/x"), True),
        (WRITE, Place("objects", "build", "main/a"), False),
        (WRITE, Place("objects", "Builds", "main/a"), False),
        (READ, Place("ids", "", "a"), True),
        (WRITE, Place("ids", "", "a"), False),
        (READ, Place("blobs", "", "a"), False),
        (ANY, Place("objects", "builds", None), True),
        (ANY, Place("objects", "public", None), False),
        (METRICS, Place("cluster"), False),
    ],
)
def test_a_grant_gives_what_it_names(
    action: str, place: Place, is_allowed: bool
) -> None:
    assert parsed(WHOLE_FILE).principals["ci"].may(action, place) is is_allowed


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("", 1, "the file is empty"),
        ("# nothing\n", 2, "the file is empty"),
        ("users: {}\n", 1, "there may be anonymous, principals, cors"),
        ("principals:\n  a b: {}\n", 2, "a name of letters"),
        ("principals:\n  anonymous: {}\n", 2, "this name is taken"),
        ("principals:\n  a: {}\n  a: {}\n", 3, "this name is taken"),
        ("principals:\n  a:\n    token: x\n", 3, "tokens, keys, grants"),
        ("principals: {a: {tokens: [{sha256: ABC}]}}\n", 1, "64 hexadecimal digits"),
        (
            f"principals: {{a: {{tokens: [{{sha256: {sha256().hexdigest()}}}]}}}}\n",
            1,
            "of no token",
        ),
        ("principals: {a: {tokens: [{}]}}\n", 1, "sha256 is missing"),
        (
            f"principals: {{a: {{tokens: [{{sha256: {DIGEST}, expires: soon}}]}}}}\n",
            1,
            "expires: expected 2027-03-01",
        ),
        ("principals: {a: {keys: [{id: A1}]}}\n", 1, "secret_file is missing"),
        (
            "principals: {a: {keys: [{id: AB1, secret_file: no}]}}\n",
            1,
            "secret_file: No such file",
        ),
        (
            "principals: {a: {keys: [{id: amazin.b, secret_file: ci}]}}\n",
            1,
            "this id is taken",
        ),
        ("anonymous: [{allow: [read]}]\n", 1, "say where"),
        ("anonymous: [{allow: [fly]}]\n", 1, "any of read, write"),
        ("anonymous: [{buckets: [a]}]\n", 1, "allow is missing"),
        ("anonymous: [{allow: [read], buckets: [A_]}]\n", 1, "buckets: "),
        ("anonymous: [{allow: [read], ids: yes}]\n", 1, "true or false"),
        ("anonymous: [{allow: [read], ids: true, prefix: a}]\n", 1, "prefix: only"),
        ("anonymous: [{allow: [read], buckets: [pub], deny: [a]}]\n", 1, "unknown"),
        ("cors: [{origins: [x], methods: [GET], ids: true}]\n", 1, "an origin, as"),
        ("cors: [{origins: ['*'], methods: [GET]}]\n", 1, "say where"),
        ("cors: [{origins: ['*'], methods: [FLY], ids: true}]\n", 1, "any of GET"),
        ("anonymous: &a []\n", 1, "anchors"),
        ("anonymous: [\n", 2, "not YAML"),
    ],
)
def test_a_mistake_has_its_line(text: str, line: int, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parsed(text)
    assert str(caught.value).startswith(f"access.yaml:{line}: ")
    assert sentence in str(caught.value)


def test_a_token_belongs_to_one_principal() -> None:
    token = f"tokens: [{{sha256: {DIGEST}}}]"
    with pytest.raises(SettingsError, match=r":1: this token is in the file twice"):
        parsed(f"principals: {{a: {{{token}}}, b: {{{token}}}}}\n")


def test_no_secret_is_told() -> None:
    with pytest.raises(SettingsError) as caught:
        parsed("principals: {a: {tokens: [{sha256: amz_very-secret}]}}\n")
    assert "very-secret" not in str(caught.value)
