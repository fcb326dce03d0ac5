"""Reads the list of blob servers, from the command line or the files of `sos`.

A file has one URL a line (group `default`), or a section for each group. The lines of a
section are URLs, or keys and URLs: `-: http://host:port`. Sends no requests.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from amazin.errors import SettingsError

DEFAULT_GROUP = "default"
SERVERS_VARIABLE = "AMAZIN_BLOB_SERVERS"
"""The environment variable with the servers of an api-server's processes, as JSON."""
_UNGROUPED = "DEFAULT"
"""The section for lines before the first one; `sos` ignores these lines."""
_HEADER = re.compile(r"\[([^\]]*)\]\s*(?:[#;].*)?")
_ENTRY = re.compile(r"([^=:]*)[=:](.*)")
_URL = re.compile(r"https?:", re.IGNORECASE)
_EXPECTED = "a blob server is written http://host:port"

log = logging.getLogger("amazin.blobs")


class BlobServer(NamedTuple):
    """One blob server, and the group whose servers mirror each other."""

    group: str
    url: str
    """As the user wrote it."""


def read_servers(
    given: str | None, home: Path, etc: Path = Path("/etc")
) -> list[BlobServer]:
    """Return the servers in order: the `given` ones, else those of both files.

    `given` has URLs with commas between them. Duplicates in a group are dropped.

    Raises:
        SettingsError: a file can't be read, or a line of it is not valid.
    """
    if given:
        urls = [url.strip() for url in given.split(",")]
        found = [
            BlobServer(DEFAULT_GROUP, checked_url(url, "-blob-server"))
            for url in urls
            if url
        ]
    else:
        found = [*_read_file(etc / "sos.conf"), *_read_file(home / ".sos.conf")]
    once = {(server.group, same_server(server.url)): server for server in found[::-1]}
    return [s for s in found if once.pop((s.group, same_server(s.url)), None)]


def dump(servers: Sequence[BlobServer]) -> str:
    """Return the table that `-dump` prints, as lines that end in a newline.

    It shows the secrets in URLs; `table` does not.
    """
    rows = [("group", "server"), *servers]
    return "".join([f"\t{group:>10} - {url}\n" for group, url in rows])


def table(servers: Sequence[BlobServer]) -> str:
    """Return the table of `dump` without secrets."""
    return dump([server._replace(url=shown(server.url)) for server in servers])


def shown(url: str) -> str:
    """Return a URL without the token, or the user and the password."""
    netloc = urlsplit(url).netloc
    return url.replace(netloc, netloc.rpartition("@")[2], 1)


def same_server(url: str) -> str:
    """Return a URL in a form that is equal for all URLs of one server."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def checked_url(text: str, place: str) -> str:
    """Return the URL unchanged if it is valid.

    Raises: SettingsError: it is not; the message names `place` and hides secrets.
    """
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        host.encode("ascii")
        host.encode("idna")  # as when it connects: no label empty or too long
        is_server = parts.scheme in ("http", "https") and host
        is_valid = is_server and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.query or not text.isprintable() or " " in text:
        raise SettingsError(f"{place}: {_EXPECTED}, not {_quoted(text)}")
    return text


def _quoted(text: str) -> str:
    """Return a quoted text that is no URL, without secrets: all before the last @."""
    public = re.sub("^(https?://)?.*@", r"\1", text, flags=re.DOTALL | re.IGNORECASE)
    return repr(ascii(public[:80])[1:-1])


def _read_file(path: Path) -> list[BlobServer]:
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise SettingsError(f"{path}: can't be read: {exc.strerror}") from exc
    lines = [line.strip() for line in text.split("\n")]
    if any(_HEADER.fullmatch(line) for line in lines):
        return _read_groups(path, lines)
    return [
        BlobServer(DEFAULT_GROUP, checked_url(without_comment(line), place))
        for place, line in _meaningful(path, lines)
        if _is_url(place, line)
    ]


def _is_url(place: str, line: str) -> bool:
    """Whether `sos` takes a line as a server; it ignores other lines."""
    if _URL.match(line):
        return True
    log.warning("%s: is no URL, so it is not used", place)
    return False


def _meaningful(path: Path, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (`path:number`, line) for lines that are neither blank nor comments."""
    for number, line in enumerate(lines, 1):
        if without_comment(line):
            yield f"{path}:{number}", line


def without_comment(line: str) -> str:
    """Return the line without its comment."""
    return re.split("[#;]", line, maxsplit=1)[0].strip()


def _read_groups(path: Path, lines: Sequence[str]) -> list[BlobServer]:
    """Read sections as `sos` does: the last value of a key in a section counts."""
    groups: dict[str, dict[str, str]] = {}
    group, count = _UNGROUPED, 0
    for place, line in _meaningful(path, lines):
        if header := _HEADER.fullmatch(line):
            group, count = header[1].strip(), 0
            continue
        key, text = _entry(without_comment(line))
        if group == _UNGROUPED:
            log.warning("%s: is in no section, so it is not used", place)
            continue
        if key == "-":
            count += 1
            key = f"-{count}"
        servers = groups.setdefault(group, {})
        if key in servers:
            log.warning("%s: takes the place of %s", place, shown(servers[key]))
        servers[key] = checked_url(text, place)
    return [
        BlobServer(group, url)
        for group, servers in groups.items()
        for url in servers.values()
    ]


def _entry(line: str) -> tuple[str, str]:
    """Return the key and the value of a line; a bare URL is its own key."""
    found = _ENTRY.fullmatch(line)
    if not found or _URL.match(line):
        return line, line
    return found[1].strip(), found[2].strip().strip("\"'`")
