"""`amazin token`: makes API tokens, and lists those of the access file."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256

import click
from rich.table import Table
from rich.text import Text

from amazin.access.file import DATE_RULE, NAME, NAME_RULE, moment_of
from amazin.access.grants import NOBODY, Credential
from amazin.access.rules import Rules, digest_of
from amazin.cli.access import file_option, file_rules, has_expired
from amazin.cli.common import MistakeError, examples, json_option, wide_console

PREFIX = "amz_"
"""Begins a token, so that tools that look for secrets find it."""
RANDOM_BYTES = 32
SHOWN_DIGITS = 8
"""Of a hash, as the log has them."""


@click.group(
    epilog=examples(
        "amazin token new ci --expires 2027-03-01", "amazin token list --json"
    )
)
def token() -> None:
    """Make API tokens, or list who has which."""


# New ones


@token.command(
    epilog=examples(
        "amazin token new ci",
        "amazin token new ci --expires 2027-03-01",
        "amazin token new ci --json | jq -r .token",
    )
)
@click.argument("name")
@click.option("--expires", metavar="DATE", help="From when on it is refused, in UTC.")
@json_option
def new(name: str, expires: str | None, is_json: bool) -> None:
    """Print a new token, and the line for the access file.

    NAME is the principal that it is for. The token is shown this once; the file has
    only its SHA-256. No gateway is asked, and no file is changed.
    """
    check_name(name)
    check_date(expires)
    made = PREFIX + urlsafe_b64encode(secrets.token_bytes(RANDOM_BYTES)).decode()
    made = made.rstrip("=")
    digest = digest_of(made.encode()).hex()
    if is_json:
        fields = {"principal": name, "token": made, "sha256": digest}
        click.echo(json.dumps({**fields, "expires": expires}))
        return
    click.echo(made)
    click.echo(
        f"Shown only this once. For `tokens:` of {name} in ACCESS_FILE:", err=True
    )
    click.echo(f"      - {line(digest, expires)}")


def line(digest: str, expires: str | None) -> str:
    """Return a token as the access file has it."""
    end = f", expires: {expires}" if expires else ""
    return f'{{sha256: "{digest}"{end}}}'


def check_name(name: str) -> None:
    """Raises: MistakeError: no principal can have this name."""
    if not NAME.fullmatch(name):
        raise MistakeError(f"{name!r} is no {NAME_RULE.removeprefix('a ')}")
    if name == NOBODY.name:
        raise MistakeError(f"{name} is who has no token; choose another name")


def check_date(text: str | None) -> None:
    """Raises: MistakeError: it is no date, or over."""
    if text is None:
        return
    try:
        moment = moment_of(text)
    except ValueError:
        raise MistakeError(f"--expires: expected {DATE_RULE}") from None
    if moment <= time.time():
        raise MistakeError(f"--expires: {text} is over")


# Those of the file


@dataclass(frozen=True)
class Row:
    """A credential of a principal; without one, the principal."""

    principal: str
    kind: str = ""
    """`token` or `key`."""
    hash: str = ""
    """The first digits of the hash of the token or the key's id, as in the log."""
    id: str | None = None
    """Of a key."""
    expires: str | None = None
    """A moment in UTC."""
    is_expired: bool = False


@token.command("list", epilog=examples("amazin token list --file access.yaml"))
@file_option
@json_option
def list_tokens(file: str | None, is_json: bool) -> None:
    """List the principals of the access file, and by what they are known.

    Tokens and keys have the first digits of their hashes, as the log has them.
    """
    found = list(rows(file_rules(file)[1]))
    if is_json:
        click.echo(json.dumps([asdict(row) for row in found]))
    else:
        wide_console().print(as_table(found))


def rows(rules: Rules) -> Iterator[Row]:
    """Return the rows, in the order of the file."""
    for name in rules.principals:
        own = [
            *(
                row_of(one, "token", digest.hex())
                for digest, one in rules.tokens.items()
                if one.principal.name == name
            ),
            *(
                row_of(one, "key", sha256(key.encode()).hexdigest(), key)
                for key, one in rules.keys.items()
                if one.principal.name == name
            ),
        ]
        yield from own or [Row(name)]


def row_of(one: Credential, kind: str, digest: str, key: str | None = None) -> Row:
    """Return the row of a credential."""
    shown = None
    if one.expires is not None:
        shown = datetime.fromtimestamp(one.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name, short = one.principal.name, digest[:SHOWN_DIGITS]
    return Row(name, kind, short, key, shown, has_expired(one))


def as_table(found: list[Row]) -> Table:
    """Return a table with a row for each credential."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("principal", "kind", "hash", "id", "expires", ""):
        table.add_column(title, no_wrap=True)
    for row in found:
        note = "expired" if row.is_expired else ""
        cells = (row.principal, row.kind or "none", row.hash, row.id, row.expires, note)
        table.add_row(*(Text(cell or "") for cell in cells))
    return table
