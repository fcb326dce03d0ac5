"""What the commands that use a gateway share: options and arguments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import click

from amazin.cli.common import MistakeError
from amazin.client.client import DEFAULT_URL, GatewayClient
from amazin.client.objects import checked_headers, path_of
from amazin.errors import ClientError, RefusedError
from amazin.model.metadata_names import BLOB_METADATA, object_metadata

Command = TypeVar("Command", bound=Callable[..., object])


def gateway_options(command: Command) -> Command:
    """Add the options for the gateway, the token, and quiet output."""
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
        command = option(command)
    return command


make_bucket_option = click.option(
    "--make-bucket", is_flag=True, help="Make the bucket, if there is none."
)


def client_of(url: str, token: str | None) -> GatewayClient:
    """Return a client that is closed when the command ends.

    The context's `obj`, if set, replaces `time.sleep`.

    Raises: MistakeError: the URL or the token is not valid.
    """
    context = click.get_current_context()
    try:
        client = GatewayClient(url, token, context.obj or time.sleep)
    except ClientError as exc:
        raise MistakeError(str(exc)) from exc
    context.call_on_close(client.close)
    return client


def as_address(text: str) -> str:
    """Return the address unchanged if it is valid. Raises: MistakeError."""
    try:
        path_of(text)
    except ClientError as exc:
        raise MistakeError(str(exc)) from exc
    return text


def as_tree(text: str) -> tuple[str, str]:
    """Return the bucket and the prefix of an address.

    The prefix is empty or ends in a slash.

    Raises: MistakeError: the address has no bucket.
    """
    bucket, _, prefix = text.partition("/")
    if not bucket:
        raise MistakeError(f"{text!r} has no bucket: photos/2026 has one")
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


@contextmanager
def with_hint() -> Iterator[None]:
    """Add a hint to the error of an upload, if there is a known remedy."""
    try:
        yield
    except RefusedError as exc:
        hint = ""
        if exc.code == "NoSuchBucket":
            hint = "; --make-bucket makes it"
        elif exc.status == 411:
            hint = "; this server takes files, and no pipes"
        after = exc.retry_after_seconds
        raise RefusedError(exc.status, exc.code, f"{exc}{hint}", after) from exc


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


def doubtful(headers: Iterable[str]) -> list[str]:
    """Return the names that only some gateways keep: those that are set to."""
    kept = object_metadata()
    return [
        name
        for name in headers
        if BLOB_METADATA.fullmatch(name) and not kept.fullmatch(name)
    ]


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that these headers can be sent. Raises: MistakeError."""
    try:
        checked_headers(headers)
    except ClientError as exc:
        raise MistakeError(str(exc)) from exc
