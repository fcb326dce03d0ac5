"""`amazin mb` and `amazin rb`: make and remove buckets."""

from __future__ import annotations

import click

from amazin.cli.common import MistakeError, examples
from amazin.cli.options import (
    as_bucket,
    dry_run_option,
    gateway_options,
    yes_option,
)
from amazin.cli.progress import Display
from amazin.cli.rm import Removal, ask
from amazin.client.client import GatewayClient
from amazin.errors import ClientError
from amazin.model.names import check_bucket, printable


@click.command(epilog=examples("amazin mb photos"))
@click.argument("buckets", nargs=-1, required=True, metavar="BUCKET...")
@gateway_options
def mb(client: GatewayClient, buckets: tuple[str, ...], quiet: bool) -> None:
    """Make buckets.

    A bucket that exists already is no error. Its name has 3 to 63 lower-case letters,
    digits, dots and hyphens.
    """
    names = [as_bucket(bucket) for bucket in buckets]
    for name in names:
        check_name(name)
    with Display(quiet) as display:
        for name in names:
            with display.noting(name):
                is_old = client.has_bucket(name)
                client.make_bucket(name)
                note = "exists already" if is_old else "is there now"
                display.print(f"The bucket {printable(name)} {note}")


def check_name(name: str) -> None:
    """Raises: MistakeError: no bucket may have this name."""
    try:
        check_bucket(name)
    except ValueError as exc:
        raise MistakeError(f"{printable(name)}: {exc}") from exc


@click.command(epilog=examples("amazin rb photos", "amazin rb --force photos --yes"))
@click.argument("buckets", nargs=-1, required=True, metavar="BUCKET...")
@click.option("--force", is_flag=True, help="Remove all its objects first.")
@dry_run_option
@yes_option
@gateway_options
def rb(
    client: GatewayClient,
    buckets: tuple[str, ...],
    force: bool,
    is_dry: bool,
    yes: bool,
    quiet: bool,
) -> None:
    """Remove buckets.

    A bucket that holds objects is not removed, unless --force removes them first.
    """
    names = [as_bucket(bucket) for bucket in buckets]
    if force and not yes and not is_dry:
        ask(f"Remove {printable(', '.join(names))} with everything in it?")
    with Display(quiet, not is_dry) as display:
        for name in names:
            failures = display.failures
            if force:
                Removal(client, display, is_dry).tree(name, "")
            if display.failures == failures:
                remove(client, display, name, is_dry, force)


def remove(
    client: GatewayClient, display: Display, name: str, is_dry: bool, force: bool
) -> None:
    """Remove an empty bucket; note a failure."""
    with display.noting(name):
        if not is_dry:
            client.remove_bucket(name)
        elif not force and next(client.list(name, page_keys=1), None):
            raise ClientError("The bucket is not empty; --force removes its objects")
        verb = "Would remove" if is_dry else "Removed"
        display.print(f"{verb} the bucket {printable(name)}")
