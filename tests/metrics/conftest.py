"""What the library keeps for the whole process ends with each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from prometheus_client import values

from amazin.metrics import slots
from amazin.metrics.slots import FOLDER, SLOT
from tests.support.cleanup import close_all

OF_PROCESS = (FOLDER, SLOT, "PROMETHEUS_MULTIPROC_DIR")


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """The next test begins without a folder, and without the files of this one.

    The library never closes them: who counts does so to its end.
    """
    before = {name: os.environ.get(name) for name in OF_PROCESS}
    kind = values.ValueClass
    yield
    close_all()
    values.ValueClass = kind
    for number in slots._held.values():
        os.close(number)
    slots._held.clear()
    values.close_all_multiprocess_files()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
