"""What the image installs is what was tested, and known by its hash."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import PROJECT


def pins(file: str) -> set[str]:
    """Return the pinned versions of a file, `name==version`."""
    text = (PROJECT / file).read_text()
    return set(re.findall(r"^([a-z0-9-]+==[^\s\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        ("requirements.lock", pins("requirements.txt")),
        (
            "requirements-build.lock",
            {
                pin
                for pin in pins("requirements-dev.txt")
                if pin.startswith("setuptools")
            },
        ),
    ],
)
def test_every_version_has_its_hashes_and_nothing_else_is_there(
    lock: str, expected: set[str]
) -> None:
    assert expected
    assert pins(lock) == expected
    entries = (PROJECT / lock).read_text().split("\n", 1)[1].replace("\\\n", "")
    for entry in entries.splitlines():
        assert re.fullmatch(r"\S+==\S+( +--hash=sha256:[0-9a-f]{64})+", entry), entry


def test_the_image_takes_nothing_without_a_hash() -> None:
    lines = (PROJECT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps ." in install


@pytest.mark.parametrize("file", ["Dockerfile", "node/Dockerfile"])
def test_every_base_image_can_be_named_by_its_digest(file: str) -> None:
    text = (PROJECT / file).read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert image in stages or re.fullmatch(r"\$\{[A-Z]+_IMAGE\}", image)
