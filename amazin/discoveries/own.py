"""Importing a user's own module, which may be called like one of ours or a library's.

The one place that has the current folder searched for modules.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def import_own(name: str) -> ModuleType:
    """Import a module of the current folder, or one that is installed.

    From now on that folder is searched last, so what the module itself imports is found
    there, too, but never in the place of something installed.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    top, dot, rest = name.partition(".")
    own = PathFinder.find_spec(top, [here])
    if own is None or own.origin is None or is_what_imports_find(own):
        return import_module(name)
    load_as(f"own_{top}", own)
    return import_module(f"own_{top}{dot}{rest}")


def is_what_imports_find(own: ModuleSpec) -> bool:
    """Whether its name means this module, rather than one that is installed."""
    found = find_spec(own.name)
    return found is not None and found.origin == own.origin


def load_as(name: str, found: ModuleSpec) -> None:
    """Load a module by another name than its own."""
    spec = spec_from_file_location(
        name,
        found.origin,
        submodule_search_locations=found.submodule_search_locations,
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{found.origin} is no module", name=found.name)
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
