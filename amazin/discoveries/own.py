"""Imports a user's own discovery, whose module may have the name of another module.

This is the only place that adds the current folder to the search path.
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

    From then on the current folder is searched last: the module finds its own helpers
    there, but they never hide an installed module.

    Raises: ImportError; SyntaxError and others of the module itself.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    top, dot, rest = name.partition(".")
    own = PathFinder.find_spec(top, [here])
    if own is None or own.origin is None or is_what_imports_find(own):
        return import_module(name)
    try:
        load_as(f"own_{top}", own)
        return import_module(f"own_{top}{dot}{rest}")
    except ImportError as exc:
        raise ImportError(str(exc).replace(f"own_{top}", top)) from exc


def is_what_imports_find(own: ModuleSpec) -> bool:
    """Whether `import` finds this module by its name, rather than an installed one."""
    found = find_spec(own.name)
    return found is not None and found.origin == own.origin


def load_as(name: str, found: ModuleSpec) -> None:
    """Load a module under another name than its own."""
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
