"""Reads an access file: principals with their credentials and grants, rules for pages.

An error names file and line, and no text that could be a secret. Files with secrets are
read through a function, so that this module knows no disk. Pure.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from amazin.access.grants import (
    ACTIONS,
    NOBODY,
    OF_CLUSTER,
    CorsRule,
    Credential,
    Grant,
    Principal,
)
from amazin.access.rules import OWN_PREFIX, Rules
from amazin.model.names import check_bucket
from amazin.settings.strict_yaml import StrictYaml, is_empty, parse_strictly

LEAST_SECRET_CHARACTERS = 16
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Of a principal."""
NAME_RULE = "a name of letters, digits and ._-"
DATE_RULE = "2027-03-01 or 2027-03-01T12:00:00Z"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{3,128}")
_OF_NOTHING = sha256().digest()
"""What a script writes whose variable is empty: it would let everybody in."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ORIGIN = re.compile(r"\*|https?://[a-z0-9._\[\]:-]+", re.IGNORECASE)
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
ReadSecret = Callable[[str], str]
"""Returns what a file holds. Raises: ValueError, with why it can't be used."""


def parse_access(text: str, file: str, read_secret: ReadSecret) -> Rules:
    """Return the rules in the text of an access file; `file` is its name in errors.

    Raises: SettingsError.
    """
    return parse_strictly(text, file, lambda yaml: _Reader(yaml, read_secret).rules())


def moment_of(date: str) -> float:
    """Return a date as Unix time: its beginning in UTC, if it has no time.

    Raises: ValueError.
    """
    moment = datetime.fromisoformat(date)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return timegm(moment.utctimetuple())


class _Reader:
    """Reads the rules from the nodes of a file."""

    def __init__(self, yaml: StrictYaml, read_secret: ReadSecret) -> None:
        self._yaml = yaml
        self._refuse = yaml.refuse
        self._read_secret = read_secret
        self._tokens: dict[bytes, Credential] = {}
        self._keys: dict[str, Credential] = {}

    def rules(self) -> Rules:
        """Read the one document of the file."""
        document = self._yaml.document("expected `principals:` and what belongs there")
        if document is None:
            self._refuse(
                ScalarNode("", "", self._yaml.get_mark()),
                "the file is empty; expected `principals:` or `anonymous:`",
            )
        parts = self._mapping(document, "anonymous", "principals", "cors")
        anonymous = NOBODY
        if rules := parts.get("anonymous"):
            anonymous = Principal(NOBODY.name, tuple(self._grants(rules)), False)
        principals = {
            name: self._principal(name, node)
            for name, node in self._named(parts.get("principals"))
        }
        cors = tuple(map(self._cors, self._list(parts.get("cors"))))
        return Rules(anonymous, principals, self._tokens, self._keys, cors)

    def _named(self, node: Node | None) -> Iterator[tuple[str, Node]]:
        if node is None or is_empty(node):
            return
        if not isinstance(node, MappingNode):
            self._refuse(node, "expected names of principals")
        known = set()
        for key, value in node.value:
            name = self._text(key, NAME, NAME_RULE)
            if name == NOBODY.name or name in known:
                self._refuse(key, "this name is taken")
            known.add(name)
            yield name, value

    def _principal(self, name: str, node: Node) -> Principal:
        parts = self._mapping(node, "tokens", "keys", "grants")
        grants = tuple(self._grants(parts.get("grants")))
        principal = Principal(name, grants)
        for token in self._list(parts.get("tokens")):
            self._add_token(principal, token)
        for key in self._list(parts.get("keys")):
            self._add_key(principal, key)
        return principal

    def _add_token(self, principal: Principal, node: Node) -> None:
        parts = self._mapping(node, "sha256", "expires", needed=("sha256",))
        expected = "the SHA-256 of the token: 64 hexadecimal digits in lower case"
        digest = bytes.fromhex(self._text(parts["sha256"], _SHA256, expected))
        if digest in self._tokens:
            self._refuse(node, "this token is in the file twice")
        if digest == _OF_NOTHING:
            self._refuse(node, "this is the SHA-256 of no token at all")
        expires = self._moment(parts.get("expires"))
        self._tokens[digest] = Credential(principal, expires=expires)

    def _add_key(self, principal: Principal, node: Node) -> None:
        names = ("id", "secret_file", "expires")
        parts = self._mapping(node, *names, needed=names[:2])
        key_id = self._text(parts["id"], _KEY_ID, "3 to 128 letters, digits and ._-")
        if key_id in self._keys or key_id.startswith(OWN_PREFIX):
            self._refuse(node, "this id is taken")
        try:
            secret = self._read_secret(self._text(parts["secret_file"])).strip()
        except ValueError as exc:
            self._refuse(parts["secret_file"], f"secret_file: {exc}")
        if len(secret) < LEAST_SECRET_CHARACTERS or not secret.isascii():
            sentence = f"expected {LEAST_SECRET_CHARACTERS} characters of ASCII or more"
            self._refuse(parts["secret_file"], f"secret_file: {sentence}")
        expires = self._moment(parts.get("expires"))
        self._keys[key_id] = Credential(principal, secret, expires)

    def _grants(self, node: Node | None) -> Iterator[Grant]:
        for one in self._list(node):
            parts = self._mapping(
                one, "allow", "buckets", "prefix", "ids", "blobs", needed=("allow",)
            )
            allow = frozenset(self._words(parts["allow"], ACTIONS))
            grant = self._where(one, parts, allow)
            if allow - OF_CLUSTER and not (grant.buckets or grant.ids or grant.blobs):
                self._refuse(one, "say where: `buckets:`, `ids: true` or `blobs: true`")
            yield grant

    def _where(
        self, node: Node, parts: dict[str, Node], allow: frozenset[str] = frozenset()
    ) -> Grant:
        buckets = frozenset(self._buckets(parts.get("buckets")))
        given = parts.get("prefix")
        prefix = self._text(given) if given and not is_empty(given) else ""
        ids, blobs = (self._flag(parts.get(name)) for name in ("ids", "blobs"))
        if prefix and (ids or blobs or not buckets):
            self._refuse(node, "prefix: only keys in `buckets:` have one")
        return Grant(allow, buckets, prefix, ids, blobs, node.start_mark.line + 1)

    def _buckets(self, node: Node | None) -> Iterator[str]:
        for one in self._list(node):
            name = self._text(one)
            try:
                if name != "*":
                    check_bucket(name)
            except ValueError as exc:
                self._refuse(one, f"buckets: {exc}")
            yield name

    def _cors(self, node: Node) -> CorsRule:
        names = ("buckets", "ids", "origins", "methods", "expose", "max_age")
        parts = self._mapping(node, *names, needed=("origins", "methods"))
        place = {name: parts[name] for name in names[:2] if name in parts}
        where = self._where(node, place)
        if not (where.buckets or where.ids):
            self._refuse(node, "say where: `buckets:` or `ids: true`")
        origin = "an origin, as https://app.example.com, or *"
        origins = [
            self._text(one, _ORIGIN, origin).lower()
            for one in self._list(parts["origins"])
        ]
        expose = self._list(parts.get("expose"))
        seconds = re.compile("[0-9]{1,6}")
        age = self._text(parts["max_age"], seconds) if "max_age" in parts else "600"
        return CorsRule(
            frozenset(origins),
            frozenset(self._words(parts["methods"], METHODS)),
            where,
            tuple(self._text(one, _HEADER, "names of headers") for one in expose),
            int(age),
        )

    def _moment(self, node: Node | None) -> float | None:
        if node is None:
            return None
        try:
            return moment_of(self._text(node))
        except ValueError:
            self._refuse(node, f"expires: expected {DATE_RULE}")

    def _flag(self, node: Node | None) -> bool:
        if node is None:
            return False
        return self._text(node, re.compile("true|false"), "true or false") == "true"

    def _words(self, node: Node, known: tuple[str, ...]) -> Iterator[str]:
        pattern = re.compile("|".join(known))
        for one in self._list(node):
            yield self._text(one, pattern, f"any of {', '.join(known)}")

    def _text(
        self, node: Node, pattern: re.Pattern[str] | None = None, expected: str = ""
    ) -> str:
        if not isinstance(node, ScalarNode) or is_empty(node):
            self._refuse(node, f"expected {expected or 'one value'}")
        text: str = node.value
        if pattern and not pattern.fullmatch(text):
            self._refuse(node, f"expected {expected or 'a number'}")
        return text

    def _list(self, node: Node | None) -> list[Node]:
        if node is None or is_empty(node):
            return []
        if not isinstance(node, SequenceNode):
            self._refuse(node, "expected a list")
        return list(node.value)

    def _mapping(
        self, node: Node, *names: str, needed: tuple[str, ...] = ()
    ) -> dict[str, Node]:
        if not isinstance(node, MappingNode):
            self._refuse(node, f"expected {', '.join(names)}")
        parts: dict[str, Node] = {}
        for key, value in node.value:
            name = self._text(key)
            if name not in names or name in parts:
                problem = "stands here twice" if name in parts else "is unknown"
                shown = name if name in names else "a name"
                known = ", ".join(names)
                self._refuse(key, f"{shown} {problem}; there may be {known}")
            parts[name] = value
        for name in needed:
            if name not in parts:
                self._refuse(node, f"{name} is missing")
        return parts
