"""The changelog: made of one small file for each change."""

from __future__ import annotations

from pathlib import Path

import pytest

from generate.changelog import HEAD, changelog
from tests.support.paths import PROJECT


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_it_is_what_is_made_of_the_files_now() -> None:
    made = changelog(PROJECT / "changelog")
    assert (PROJECT / "CHANGELOG.md").read_text("utf-8") == made, "run `make generate`"


def test_the_newest_version_is_the_first_and_its_changes_are_by_kind(
    tmp_path: Path,
) -> None:
    write(tmp_path, "0.9.0/a.md", "Fix: Nine\n\nMended.\n")
    write(tmp_path, "0.10.0/a.md", "Fix: Ten\n\nMended, too.\n")
    write(tmp_path, "unreleased/a.md", "Feature: A thing\n\nIt does.\n\nMore.\n")
    write(tmp_path, "unreleased/b-2.md", "Change: A name\n\nIt moved.\n")
    assert changelog(tmp_path) == HEAD + (
        "\n## Unreleased\n"
        "\n### Changes: what you may have to act on\n"
        "\n- **A name.**\n  It moved.\n"
        "\n### Features\n"
        "\n- **A thing.**\n  It does.\n\n  More.\n"
        "\n## 0.10.0\n\n### Fixes\n\n- **Ten.**\n  Mended, too.\n"
        "\n## 0.9.0\n\n### Fixes\n\n- **Nine.**\n  Mended.\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Feature: A thing\n",
        "Feature: A thing\nIt does.\n",
        "Feature: A thing.\n\nIt does.\n",
        "Feature:A thing\n\nIt does.\n",
        "Idea: A thing\n\nIt might.\n",
        f"Fix: {'a' * 81}\n\nIt does.\n",
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "unreleased/a.md", text)
    with pytest.raises(ValueError, match=r"unreleased/a\.md: expected"):
        changelog(tmp_path)


@pytest.mark.parametrize("name", ["unreleased/A thing.md", "unreleased/a.txt"])
def test_a_file_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "Fix: A thing\n\nIt does.\n")
    with pytest.raises(ValueError, match="expected a-name-like-this"):
        changelog(tmp_path)


def test_a_folder_that_is_no_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "soon/a.md", "Fix: A thing\n\nIt does.\n")
    with pytest.raises(ValueError, match="soon"):
        changelog(tmp_path)
