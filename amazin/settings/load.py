"""Turns the texts of settings into `Settings`: converts each, then checks all together.

Pure. `config_file.py` reads the configuration file and the process environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any

from amazin.errors import SettingsError
from amazin.logs import without_credentials
from amazin.model.variables import refuse_quotes, refuse_variables
from amazin.settings.checks import contradictions
from amazin.settings.converters import DISCOVERIES, Given
from amazin.settings.removed import RemovedSettings
from amazin.settings.settings import Settings

REMOVED: Mapping[str, Field[Any]] = {
    field.name: field for field in fields(RemovedSettings)
}
KNOWN: Mapping[str, Field[Any]] = {
    **{field.name: field for field in fields(Settings)},
    **REMOVED,
}
"""All settings by name, including those that were removed."""
PLACES: Mapping[str, Field[Any]] = {
    field.metadata["place"] or name: field for name, field in KNOWN.items()
}
"""All settings by their place in the file, including those that were removed."""
FIELDS = {place: field for place, field in PLACES.items() if field.name not in REMOVED}
"""The current settings by their place in the file."""
SECTIONS = {
    place[:dot] for place in FIELDS for dot in range(len(place)) if place[dot] == "."
}

IMPLIED = {
    "minio_endpoint": ("discovery", "static"),
    "access_file": ("access", "signed"),
}
"""What a setting says of another one that is not given."""
LEAST_SIMILARITY = 0.85
"""Of names: `ACCES` has 0.91 of `ACCESS`, `HOME` 0.75 of `HOST`."""


def given_by(environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what the environment has for each field; empty variables are left out."""
    found = {}
    for name in KNOWN:
        variable = name.upper()
        if written := environ.get(variable, "").strip():
            found[name] = Given(written, variable)
    return found


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that looks like a setting, but is none.

    They may be of other programs, so they stop nothing.
    """
    variables = [name.upper() for name in KNOWN]
    likely = {
        name: get_close_matches(name.upper(), variables, 1, LEAST_SIMILARITY)
        for name in environ.keys() - set(variables)
    }
    return [
        f"{name} is set, but is no setting; perhaps {found[0]} is meant"
        for name, found in sorted(likely.items())
        if found
    ]


def with_implied(given: Mapping[str, Given]) -> dict[str, Given]:
    """Return `given` and what follows from it, by `IMPLIED`."""
    completed = dict(given)
    for name, (implied, text) in IMPLIED.items():
        if name in given and implied not in given:
            completed[implied] = given[name]._replace(text=text)
    return completed


def in_use(given: Mapping[str, Given]) -> dict[str, Given]:
    """Return what counts of `given`, which is complete.

    Where DISCOVERY is set, a variable that only other kinds use does not: other
    programs have a `DOCKER_HOST` and a `NODE_PORT`, too. The file is ours, so all of it
    counts.
    """
    if "discovery" not in given:
        return dict(given)
    kinds = {_value("discovery", given)}
    if kinds.isdisjoint(DISCOVERIES):  # the user's own discovery may use anything
        kinds.update(DISCOVERIES)
    if _value("consul_enabled", given):
        kinds.add("registration")

    def counts(name: str, written: Given) -> bool:
        only_for = KNOWN[name].metadata["only_for"]
        return bool(not only_for or written.file_line or kinds & {*only_for})

    return {name: text for name, text in given.items() if counts(name, text)}


def _value(name: str, given: Mapping[str, Given]) -> Any:
    field = KNOWN[name]
    return convert(field, given[name]) if name in given else field.default


def convert(field: Field[Any], given: Given) -> Any:
    """Return the value of a field. Raises: SettingsError."""
    try:
        refuse_variables(given.text)
        refuse_quotes(given.text)
        return field.metadata["convert"](given.text)
    except ValueError as exc:
        text = without_credentials(given.text)
        shown = "" if field.metadata["is_secret"] else f" {text!r}"
        raise SettingsError(f"{given}:{shown} can't be used: {exc}") from None


def from_environ(environ: Mapping[str, str]) -> Settings:
    """Load the settings from the environment only; empty variables mean the defaults.

    Raises:
        SettingsError: names the variable and what was expected.
    """
    return from_given(given_by(environ))


def from_given(given: Mapping[str, Given]) -> Settings:
    """Return the settings for these texts. Raises: SettingsError."""
    given = in_use(with_implied(given))
    values = {name: convert(KNOWN[name], written) for name, written in given.items()}
    for name in REMOVED.keys() & values.keys():
        del values[name]
    settings = Settings(**values)
    for names, sentence in contradictions(settings):
        written = [given[name] for name in names if name in given]
        where = next((str(one) for one in written if one.file_line), names[0].upper())
        raise SettingsError(f"{where}: {sentence}")
    return settings
