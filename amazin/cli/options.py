"""What the commands that use a gateway share: options, and what words address.

An option that several commands have is declared here, so that it means the same in all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from amazin.cli.common import MistakeError, as_rate
from amazin.cli.patterns import ANY_NAME, Selection, as_patterns, matches
from amazin.client.client import DEFAULT_URL, GatewayClient
from amazin.client.objects import (
    KEPT_HEADERS,
    StoredObject,
    checked_headers,
    path_of,
)
from amazin.errors import ClientError, RefusedError
from amazin.model.metadata_names import BLOB_METADATA, object_metadata
from amazin.model.names import check_bucket, printable

Command = Callable[..., object]
MARK = "amazin:"
"""The prefix that marks an argument as an address in the store."""
ORDERS = re.compile(
    "If-.*|Content-MD5|Content-Digest|Repr-Digest|X-Amz-Checksum-.*", re.IGNORECASE
)
"""Headers that say how to store an object, and are not kept with it."""


# Options


def gateway_options(command: Command) -> Command:
    """Add the options for the gateway, the token, and quiet output.

    The command gets `client` and `quiet`.
    """

    @wraps(command)
    def call(
        url: str, token: str | None, limit_rate: float | None = None, **rest: Any
    ) -> object:
        check_arguments(click.get_current_context())
        return command(client=new_client(url, token, limit_rate), **rest)

    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print errors only."),
        click.option(
            "--token",
            envvar="AMAZIN_TOKEN",
            show_envvar=True,
            help="API token, if the gateway wants one.",
        ),
        click.option(
            "--url",
            envvar="AMAZIN_URL",
            default=DEFAULT_URL,
            show_default=True,
            show_envvar=True,
            help="The gateway.",
        ),
    ):
        option(call)
    return call


def check_arguments(context: click.Context) -> None:
    """Check that no argument is empty: a variable of a shell is perhaps not set.

    An empty path would be the current folder. Raises: MistakeError.
    """
    for argument in context.command.params:
        name = argument.name or ""
        value = context.params.get(name)
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        is_empty = "" in (value if isinstance(value, tuple) else (value,))
        if isinstance(argument, click.Argument) and is_given and is_empty:
            raise MistakeError(f"{argument.make_metavar(context)} is empty")


def new_client(url: str, token: str | None, rate: float | None) -> GatewayClient:
    """Return a client that is closed when the command ends.

    The context's `obj`, if set, replaces `time.sleep`.

    Raises: MistakeError: the URL or the token is not valid.
    """
    context = click.get_current_context()
    with as_mistake():
        client = GatewayClient(url, token, context.obj or time.sleep, rate)
    context.call_on_close(client.close)
    return client


def transfer_options(command: Command) -> Command:
    """Add the options of `gateway_options`, and the limit of the rate."""
    return click.option(
        "--limit-rate",
        callback=as_rate,
        metavar="BYTES/S",
        help="Send and fetch no faster, as 500K or 8MB/s.",
    )(gateway_options(command))


def header_options(command: Command) -> Command:
    """Add the options for what is kept with objects; the command gets `headers`."""

    @wraps(command)
    def call(content_type: str | None, headers: dict[str, str], **rest: Any) -> object:
        if content_type is not None:
            headers["Content-Type"] = content_type
        with as_mistake():
            checked_headers(headers)
        return command(headers=headers, **rest)

    for option in (
        click.option(
            "--header",
            "headers",
            multiple=True,
            callback=as_headers,
            metavar="NAME:VALUE",
            help=(
                "Header to keep with it, as 'X-Meta-Owner: ann'; several times. "
                "Another X- header is kept only if the gateway's METADATA_HEADERS "
                "names it."
            ),
        ),
        click.option(
            "--type", "content_type", metavar="TYPE", help="Content-Type to keep."
        ),
    ):
        option(call)
    return call


def selection_options(command: Command) -> Command:
    """Add the options that select by name; the command gets `selection`."""

    @wraps(command)
    def call(
        include: tuple[re.Pattern[str], ...],
        exclude: tuple[re.Pattern[str], ...],
        **rest: Any,
    ) -> object:
        if include and matches(exclude, ANY_NAME):
            raise MistakeError(
                "That --exclude leaves nothing; --include alone takes what it names"
            )
        return command(selection=Selection(include, exclude), **rest)

    words = {"include": "Only what matches", "exclude": "Nothing that matches"}
    for name, text in reversed(words.items()):
        click.option(
            f"--{name}",
            multiple=True,
            metavar="PATTERN",
            callback=as_patterns,
            help=f"{text}, as '*.jpg' or 'tmp/'; several times.",
        )(call)
    return call


dry_run_option = click.option(
    "-n", "--dry-run", "is_dry", is_flag=True, help="Only say what would be done."
)
make_bucket_option = click.option(
    "--make-bucket", is_flag=True, help="Make the bucket, if there is none."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Don't ask.")


def as_headers(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Convert several `NAME: VALUE` to headers. Raises: BadParameter."""
    headers: dict[str, str] = {}
    for value in values:
        name, colon, text = value.partition(":")
        if not colon or not name.strip():
            message = f"{value!r} is no header like 'X-Meta-Owner: ann'"
            raise click.BadParameter(message, context, option)
        headers[name.strip()] = text.strip()
    return headers


def doubts(headers: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each header that gateways don't keep, or only some."""
    kept = object_metadata()
    for name in headers:
        if kept.fullmatch(name) or name.title() in KEPT_HEADERS:
            continue
        if BLOB_METADATA.fullmatch(name):
            yield f"{name} is kept only if METADATA_HEADERS there names it"
        elif not ORDERS.fullmatch(name):
            yield f"{name} is not kept: X-Meta-{name} would be"


# Addresses


@contextmanager
def as_mistake() -> Iterator[None]:
    """Turn a ClientError about what was given into a MistakeError."""
    try:
        yield
    except ClientError as exc:
        raise MistakeError(str(exc)) from exc


def as_address(text: str) -> str:
    """Return the address without its mark, if it is valid. Raises: MistakeError."""
    address = text.removeprefix(MARK)
    bucket, slash, key = address.partition("/")
    if bucket and slash and not key:
        raise MistakeError(f"{text!r} is a bucket: {bucket}/a.jpg is an object in it")
    with as_mistake():
        path_of(address)
    return address


def as_bucket(text: str) -> str:
    """Return the name of a bucket, which may end in a slash. Raises: MistakeError."""
    bucket = text.removeprefix(MARK).removesuffix("/")
    if not bucket or "/" in bucket:
        raise MistakeError(f"{text!r} is no bucket: photos is one")
    return bucket


def as_place(text: str) -> tuple[str, str]:
    """Return the bucket, and the beginning of keys. Raises: MistakeError: no bucket."""
    bucket, _, prefix = text.removeprefix(MARK).partition("/")
    if not bucket:
        raise MistakeError(f"{text!r} has no bucket: photos/2026 has one")
    return bucket, prefix


def as_tree(text: str) -> tuple[str, str]:
    """Return the bucket, and a prefix that is empty or ends in a slash.

    Raises: MistakeError: the address has no bucket.
    """
    bucket, prefix = as_place(text)
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    return bucket, prefix


def last_segment(address: str) -> str:
    """Return the last segment of an address, as a file name.

    Raises: MistakeError: it is no file name.
    """
    name = address.rpartition("/")[2]
    if name in ("", ".", "..") or "\0" in name:
        raise MistakeError(f"{address!r} ends in no file's name: give one")
    return name


def check_id(client: GatewayClient, text: str, name: str) -> None:
    """Check that the id of a new object is not meant to be a bucket.

    `name` is that of what is stored. An id with the mark is not checked.

    Raises: MistakeError: there is a bucket of this name.
    """
    if "/" in text or text.startswith(MARK) or not has_bucket(client, text):
        return
    raise MistakeError(
        f"{text} would be the id of an object, and there is a bucket {text}: write "
        f"{printable(f'{text}/{name}')}, or {MARK}{text} for the id"
    )


def has_bucket(client: GatewayClient, name: str) -> bool:
    """Whether it is known that there is a bucket of this name.

    That is only a hint: nothing waits for it, or fails because of it.
    """
    try:
        check_bucket(name)
        return client.has_bucket(name, is_patient=False)
    except (ValueError, ClientError):
        return False


def object_at(client: GatewayClient, address: str) -> StoredObject | None:
    """Return the object at an address; None: there is none. Raises: ClientError."""
    try:
        return client.head(address)
    except RefusedError as exc:
        if exc.status == 404:
            return None
        raise


def lone_object(client: GatewayClient, bucket: str, prefix: str) -> StoredObject | None:
    """Return the object whose key is a prefix without its slash; None: there is none.

    That is only a hint: nothing fails because of it.
    """
    key = prefix.removesuffix("/")
    with suppress(ClientError):
        return object_at(client, f"{bucket}/{key}") if key else None
    return None


def what_is_at(client: GatewayClient, address: str) -> str:
    """Return what there is instead of an object, as a sentence; empty: nothing."""
    bucket, slash, key = address.partition("/")
    if not slash:
        is_there = has_bucket(client, bucket)
        return f"{bucket} is an id, and there is a bucket {bucket}" if is_there else ""
    prefix = key if key.endswith("/") else f"{key}/"
    if next(client.list(bucket, prefix, page_keys=1), None) is None:
        return ""
    return f"there are objects below {printable(f'{bucket}/{prefix}')}"


@contextmanager
def with_hints(
    client: GatewayClient,
    *,
    source: str = "",
    target: str = "",
    is_within: bool = False,
) -> Iterator[None]:
    """Add to an error what may help.

    That is how to make the bucket of `target`, the address of what is stored, or how to
    copy it here, if it comes from the store (`is_within`); or what else there is at
    `source`, the address of what is read.
    """
    try:
        yield
    except RefusedError as exc:
        if exc.code == "NoSuchBucket" and target:
            bucket = printable(target.partition("/")[0])
            exc.add_note(f"--make-bucket makes {bucket}")
            if is_within:
                exc.add_note(f"./{printable(target)} would be a place here")
        elif exc.code == "NoSuchObject" and source:
            with suppress(ClientError):
                found = what_is_at(client, source)
                exc.add_note(
                    f"{found}: see `amazin ls {printable(source)}`" if found else ""
                )
        raise
