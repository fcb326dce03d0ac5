"""`amazin put`: stores files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from amazin.cli.common import MistakeError, as_files, examples, json_option
from amazin.cli.copying import (
    Copier,
    make_bucket_for,
    print_done,
    warn_of_headers,
)
from amazin.cli.options import (
    MARK,
    dry_run_option,
    header_options,
    make_bucket_option,
    transfer_options,
)
from amazin.cli.places import DEFAULT_FOLDER, STANDARD, Kind, Way, whole_ways
from amazin.cli.progress import Display, say
from amazin.client.client import GatewayClient
from amazin.model.names import printable


def key_of(files: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return the files, and the key, which is the last argument unless it is alone.

    Raises: MistakeError: the last one is a file, too: a shell has put it there.
    """
    if len(files) == 1:
        return files, DEFAULT_FOLDER
    *sources, key = files
    is_clear = key.startswith(MARK) or key.endswith("/") or STANDARD in sources
    if not is_clear and Path(key).exists():
        raise MistakeError(
            f"{printable(key)} is here, too. To store it, end with a KEY, as photos/; "
            f"if it is the KEY, write {MARK}{printable(key)}"
        )
    return tuple(sources), key


@click.command(
    epilog=examples(
        "amazin put cat.jpg photos/2026/cat.jpg",
        "amazin put *.jpg photos/2026/ --make-bucket",
        "amazin put --header 'X-Meta-Owner: ann' cat.jpg photos/",
        "tar c . | amazin put - backups/today.tar --type application/x-tar",
    )
)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE... [KEY]", shell_complete=as_files
)
@header_options
@make_bucket_option
@dry_run_option
@json_option
@transfer_options
def put(
    client: GatewayClient,
    files: tuple[str, ...],
    headers: dict[str, str],
    make_bucket: bool,
    is_dry: bool,
    is_json: bool,
    quiet: bool,
) -> None:
    """Store files as objects.

    FILE - is standard input. KEY is a bucket and a key, or, without a slash, the id of
    an object. If it ends in a slash, the file's name is appended; it has to, if there
    are several files. Without KEY it is default/ and the file's name. The MD5 of the
    stored object is compared with that of the file. A file that changes meanwhile is
    not stored.
    """
    sources, key = key_of(files)
    target = key.removeprefix(MARK)
    given = [Way(Kind.UPLOAD, source, target) for source in sources]
    ways = whole_ways(client, given, key, make_bucket)
    with Display(quiet, not is_dry) as display:
        copier = Copier(client, display, headers, is_dry=is_dry)
        make_bucket_for(copier, ways[0], make_bucket)
        for way in ways:
            stored = copier.run(way)
            if stored and is_json:
                say(json.dumps(asdict(stored)))
            elif stored:
                print_done(copier, way, stored)
        warn_of_headers(copier)
