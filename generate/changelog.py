"""`CHANGELOG.md`, made of one small file for each change.

The files lie in a folder for each version, `changelog/<version>/`, and, until the next
one has a number, in `changelog/unreleased/`. How to write one: CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "Security": "Security",
    "Change": "Changes: what you may have to act on",
    "Feature": "Features",
    "Fix": "Fixes",
}
"""What a change may be, and the heading over all of its kind, in this order."""
UNRELEASED = "unreleased"
HEAD = """# Changelog

Made by `make generate` of the files in `changelog/`, one for each change;
[CONTRIBUTING.md](CONTRIBUTING.md#describe-the-change) says how to write one.
"""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.md")
_FORM = re.compile(
    rf"(?P<kind>{'|'.join(KINDS)}): (?P<title>\S.{{0,78}}[^\s.])\n\n(?P<text>\S(.|\n)*)"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change."""

    kind: str
    title: str
    text: str


def changelog(folder: Path) -> str:
    """Return the text of it. Raises: ValueError, a file is not as it should be."""
    return "\n".join([HEAD, *sections(folder)])


def sections(folder: Path) -> Iterator[str]:
    """Yield what there is to say of each version, the newest first."""
    for version in sorted(folder.iterdir(), key=order, reverse=True):
        entries = [read_entry(path) for path in sorted(version.iterdir())]
        yield f"## {version.name.capitalize()}\n"
        for kind, heading in KINDS.items():
            if items := [listed(entry) for entry in entries if entry.kind == kind]:
                yield f"### {heading}\n"
                yield from items


def order(version: Path) -> tuple[bool, list[int]]:
    """Return what versions are sorted by. Raises: ValueError, it is no version."""
    if version.name == UNRELEASED:
        return True, []
    return False, [int(number) for number in version.name.split(".")]


def read_entry(path: Path) -> Entry:
    """Read the file of one change. Raises: ValueError, it is not as it should be."""
    form = _FORM.fullmatch(path.read_text("utf-8"))
    if not form or not _NAME.fullmatch(path.name):
        kinds = ", ".join(KINDS)
        raise ValueError(
            f"{path}: expected a-name-like-this.md with `Kind: title` (one of {kinds}; "
            "80 characters, no full stop), an empty line, and a text"
        )
    return Entry(form["kind"], form["title"], form["text"].strip())


def listed(entry: Entry) -> str:
    """Return an entry as an item of a list."""
    text = f"**{entry.title}.**\n{entry.text}\n"
    return "- " + re.sub(r"\n(?=.)", "\n  ", text)
