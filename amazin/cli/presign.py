"""`amazin presign`: makes URLs that let others fetch or store one object."""

from __future__ import annotations

import click

from amazin.cli.common import MistakeError, as_seconds, examples
from amazin.cli.options import as_address, gateway_options
from amazin.cli.progress import Display, say
from amazin.client.client import GatewayClient

LONGEST_SECONDS = 7 * 24 * 3600


@click.command(
    epilog=examples(
        "amazin presign photos/2026/cat.jpg --expires 7d",
        'curl -T cat.jpg "$(amazin presign --put photos/cat.jpg)"',
    )
)
@click.argument("key")
@click.option("--put", "is_put", is_flag=True, help="To store it, not to fetch it.")
@click.option(
    "--expires",
    callback=as_seconds,
    default="15m",
    show_default=True,
    metavar="TIME",
    help="How long it is valid, up to 7d.",
)
@gateway_options
def presign(
    client: GatewayClient, key: str, is_put: bool, expires: float, quiet: bool
) -> None:
    """Print a URL with which anybody can fetch or store one object.

    It needs no token, until it expires. The gateway signs it, which its setting
    SIGNING_SECRET permits. KEY has a bucket.
    """
    address = as_address(key)
    if "/" not in address:
        raise MistakeError(f"{address} is an id: URLs are made of a bucket and a key")
    if not 1 <= expires <= LONGEST_SECONDS:
        raise MistakeError("--expires is from 1s to 7d")
    with Display(quiet) as display, display.noting(address):
        say(client.presign(address, "PUT" if is_put else "GET", int(expires)))
