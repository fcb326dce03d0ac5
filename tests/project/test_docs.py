"""What the documentation names is there: files, links, modules, rooms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

PAGES = [
    *sorted(PROJECT.glob("*.md")),
    *sorted((PROJECT / "docs").glob("*.md")),
]
ARCHITECTURE = (PROJECT / "docs" / "architecture.md").read_text("utf-8")
PACKAGE = PROJECT / "amazin"
OURS = ("amazin", "bench", "deploy", "docs", "generate", "scripts", "tests")
"""Folders whose files are named from the project's root."""
OF_OTHERS = {
    "bench-result.json",
    "configs/config.yaml",
    "disks.py",
    "ranges-of-blobs.md",
}
"""Files that users have, or that are made."""


def page_name(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def without_code_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return what a code host calls the headings of a page."""
    text = without_code_blocks(page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def links(page: Path) -> list[str]:
    """Return the targets of a page's links that lead to the project's own files."""
    text = without_code_blocks(page.read_text("utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    targets += re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    return [target for target in targets if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_links_are_found() -> None:
    assert "docs/settings.md" in links(PROJECT / "README.md")
    assert "consistency.md#the-roster" in links(PROJECT / "docs" / "architecture.md")


def is_there(name: str) -> bool:
    """Whether a file that is named has this path, or, without folders, this name."""
    if "/" in name:
        return (PROJECT / name).exists()
    return name in file_names()


@cache
def file_names() -> frozenset[str]:
    """Return the names of all files of the project, without their folders."""
    files = [file for folder in OURS for file in (PROJECT / folder).rglob("*")]
    return frozenset(file.name for file in [*files, *PROJECT.iterdir()])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # which names what was
        return
    spans = re.findall(r"`([^`]+)`", without_code_blocks(page.read_text("utf-8")))
    suffixes = "py|md|yaml|yml|html|cfg|toml|json|svg|txt"
    for span in spans:
        words = re.findall(rf"(?<![\w/.-])[\w-][\w/.-]*\.(?:{suffixes})\b", span)
        words += re.findall(rf"(?<![\w/.-])(?:{'|'.join(OURS)})/[\w/.-]*", span)
        for word in set(words) - OF_OTHERS:
            assert is_there(word), word


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_module_that_is_to_be_run_or_imported_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    names = re.findall(r"python -m ([\w.]+)", text)
    names += re.findall(r"from (amazin[\w.]*) import", text)
    for name in names:
        if name.partition(".")[0] in OURS:
            path = PROJECT / name.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").exists(), name


# The architecture


@cache
def rooms() -> frozenset[str]:
    """Return the folders of the package that hold code, and the modules beside it."""
    inner = {
        str(file.parent.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if file.name != "__init__.py" and file.parent != PACKAGE
    }
    modules = {path.name for path in PROJECT.glob("*.py")} - {"gunicorn.conf.py"}
    return frozenset(inner | modules)


def room_of(module: str) -> str:
    """Return the room of a module that is written with dots, "" if it is in none."""
    if module.partition(".")[0] != PACKAGE.name:
        return f"{module}.py"
    folder = module.partition(".")[2].replace(".", "/")
    while folder and folder not in rooms():
        folder = folder.rpartition("/")[0]
    return folder


def imports() -> Iterator[tuple[str, str]]:
    """Yield who imports whom, room by room."""
    for file in [*PACKAGE.rglob("*.py"), *PROJECT.glob("*.py")]:
        path = file.relative_to(PROJECT).with_suffix("")
        room = room_of(".".join(path.parts))
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield room, room_of(node.module)


def components() -> str:
    """Return the second diagram."""
    return re.findall(r"```mermaid\n(.*?)```", ARCHITECTURE, re.DOTALL)[1]


def test_the_rooms_that_have_a_paragraph_are_those_there_are() -> None:
    named = re.findall(r"^\*\*`(.+?)`\*\*", ARCHITECTURE, re.MULTILINE)
    assert sorted(named) == sorted({*rooms(), PACKAGE.name})


def test_the_diagram_has_every_room_and_its_arrows_are_imports() -> None:
    names = dict(re.findall(r'^ *(\w+)\["(.+)"\]$', components(), re.MULTILINE))
    assert set(names.values()) == rooms()
    lines = re.findall(r"^ *(\w+) --> (.+)$", components(), re.MULTILINE)
    arrows = {(names[a], names[b]) for a, many in lines for b in many.split(" & ")}
    assert arrows <= set(imports())
    assert {name for arrow in arrows for name in arrow} == rooms()
    assert below(boxes(imports())) == below(boxes(arrows))


def boxes(arrows: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows between whole rooms, without the ground."""
    pairs = {(a.partition("/")[0], b.partition("/")[0]) for a, b in arrows}
    return {(a, b) for a, b in pairs if a != b and {a, b} <= rooms()}


def below(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return who imports whom, also by way of others; fails if somebody itself."""
    found = set(arrows)
    while more := {(a, d) for a, b in found for c, d in found if b == c} - found:
        found |= more
    assert not any(a == b for a, b in found)
    return found
