"""`amazin access`: tells what the access file permits. Asks no gateway."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from difflib import get_close_matches

import click

from amazin.access.grants import (
    ACTIONS,
    ALL_BLOBS,
    BLOBS,
    BUCKET,
    IDS,
    LIST,
    OBJECTS,
    OF_CLUSTER,
    READ,
    WHOLE,
    WRITE,
    Credential,
    Grant,
    Place,
    Principal,
)
from amazin.access.rules import Rules
from amazin.access.source import read_rules
from amazin.cli.common import MistakeError, as_files, examples, json_option
from amazin.errors import SettingsError
from amazin.model.names import check_bucket
from amazin.settings.config_file import load

_FORMS = "BUCKET/KEY, BUCKET/, ids:ID or blobs"
_ACTIONS_OF = {IDS: (READ, WRITE, "delete"), BLOBS: (READ, WRITE, LIST)}
"""What routes do elsewhere than in buckets."""

file_option = click.option(
    "--file",
    shell_complete=as_files,
    help="The access file. By default the one that the setting ACCESS_FILE names.",
)


@click.group(epilog=examples("amazin access check ci write builds/main/app.zip"))
def access() -> None:
    """Tell whether the access file permits something."""


@access.command(
    epilog=examples(
        "amazin access check ci write builds/main/app.zip",
        "amazin access check ci list builds/main/",
        "amazin access check ci read ids:k7",
        "amazin access check prometheus metrics",
        "amazin access check anonymous read public/www/index.html --file access.yaml",
    )
)
@click.argument("principal")
@click.argument("action")
@click.argument("place", default="")
@file_option
@json_option
def check(
    principal: str, action: str, place: str, file: str | None, is_json: bool
) -> None:
    """Say whether a principal may do something, and which grant permits it.

    PRINCIPAL is a name in the file, or `anonymous`: who has no credentials. ACTION is
    read, write, delete, list, bucket, status, metrics or admin.

    PLACE is BUCKET/KEY; for list a prefix instead of a key; BUCKET/ for a whole bucket;
    ids:ID for an object by id (/object/ID); blobs for /upload and /fetch. The actions
    status, metrics and admin have none.

    Exit codes: 0 yes, 1 no, 2 a mistake, in the file or in the arguments.
    """
    path, rules = file_rules(file)
    who = principal_named(principal, rules)
    require_known("action", action, ACTIONS)
    grant = who.grant_for(action, place_of(action, place))
    answer = {
        "principal": principal,
        "action": action,
        "place": place,
        "is_allowed": grant is not None,
        "file": path,
        "line": grant.line if grant else None,
    }
    task = f"{principal}: {action} {place}".rstrip()
    click.echo(json.dumps(answer) if is_json else sentence(task, path, grant))
    if who.is_named and not has_valid(who, rules):
        note = f"{principal} has no token and no key that is valid now"
        click.echo(note, err=True)
    sys.exit(0 if grant else 1)


def sentence(task: str, path: str, grant: Grant | None) -> str:
    """Return the answer in words."""
    if grant is None:
        return f"no   {task}; no grant in {path} allows it"
    return f"yes  {task}; by the grant at {path}:{grant.line}"


def has_valid(principal: Principal, rules: Rules) -> bool:
    """Whether a principal has a credential that is valid now."""
    credentials = (*rules.tokens.values(), *rules.keys.values())
    return any(
        one.principal.name == principal.name and not has_expired(one)
        for one in credentials
    )


def has_expired(credential: Credential) -> bool:
    """Whether a credential is refused by now."""
    return credential.expires is not None and time.time() >= credential.expires


# What the arguments mean


def file_rules(file: str | None) -> tuple[str, Rules]:
    """Return the path of the access file, and its rules.

    Raises: MistakeError: there is no such file, or it is wrong.
    """
    path = file or load(os.environ)[0].access_file
    if not path:
        raise MistakeError("Name the access file: --file, or the setting ACCESS_FILE")
    try:
        return path, read_rules(path)
    except SettingsError as exc:
        raise MistakeError(str(exc).removeprefix("ACCESS_FILE: ")) from None


def principal_named(name: str, rules: Rules) -> Principal:
    """Return a principal. Raises: MistakeError: it is not in the file."""
    known = {**rules.principals, rules.anonymous.name: rules.anonymous}
    require_known("principal", name, known)
    return known[name]


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises: MistakeError, with a similar name, or with all that are known."""
    known = list(known)
    if name in known:
        return
    similar = get_close_matches(name, known, n=1)
    hint = f"Did you mean '{similar[0]}'?" if similar else f"Known: {', '.join(known)}"
    raise MistakeError(f"There is no {kind} '{name}'. {hint}")


def place_of(action: str, text: str) -> Place:
    """Return the place in an argument. Raises: MistakeError: none, or not for this."""
    if action in OF_CLUSTER:
        if text:
            raise MistakeError(f"{action} concerns the cluster: give no place")
        return WHOLE
    place = parsed(text)
    if action not in _ACTIONS_OF.get(place.kind, ACTIONS):
        raise MistakeError(f"Nothing there asks for {action}; expected BUCKET/KEY")
    if action == BUCKET and place.key:
        raise MistakeError(f"bucket concerns whole buckets: {place.bucket}/")
    return place


def parsed(text: str) -> Place:
    """Return the place that a text names. Raises: MistakeError."""
    if text == BLOBS:
        return ALL_BLOBS
    if text.startswith("ids:"):
        return Place(IDS, "", text.removeprefix("ids:"))
    bucket, slash, key = text.partition("/")
    if not slash:
        found = f"'{text}' is no place" if text else "The place is missing"
        hint = f"; the whole bucket is {text}/" if text else ""
        raise MistakeError(f"{found}: expected {_FORMS}{hint}")
    try:
        check_bucket(bucket)
    except ValueError as exc:
        raise MistakeError(f"{bucket}: {exc}") from None
    return Place(OBJECTS, bucket, key)
