"""Patterns of names, as `--include` and `--exclude` take them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Selection:
    """Which names are taken: those that match an include, if any, and no exclude."""

    includes: Iterable[re.Pattern[str]] = ()
    excludes: Iterable[re.Pattern[str]] = ()

    def takes(self, name: str) -> bool:
        """Whether to take the path of a file, or the rest of a key."""
        is_named = not self.includes or matches(self.includes, name)
        return is_named and not matches(self.excludes, name)

    def __bool__(self) -> bool:
        return bool(self.includes or self.excludes)


ALL = Selection()
ANY_NAME = "\0"
"""Is matched only by a pattern that matches all names, as `*`."""


def matches(patterns: Iterable[re.Pattern[str]], name: str) -> bool:
    """Whether a name matches one of the patterns."""
    return any(pattern.fullmatch(name) for pattern in patterns)


def as_patterns(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[re.Pattern[str], ...]:
    """Convert patterns. Raises: BadParameter."""
    for value in values:
        if not value.strip("/"):
            message = f"{value!r} is no pattern like '*.jpg' or 'tmp/'"
            raise click.BadParameter(message, context, option)
    return tuple(map(pattern_of, values))


def pattern_of(text: str) -> re.Pattern[str]:
    """Return what matches the paths that a pattern names.

    `*` and `?` match no slash, `**` does; `[abc]` and `{a,b}` are alternatives. A
    pattern begins anywhere behind a slash, with a slash in front at the top only. One
    that ends in a slash takes all that is below. Source: rclone's filters.
    """
    body = text.removeprefix("/") + ("**" if text.endswith("/") else "")
    tokens = re.findall(r"\*\*|\[!?[^]/]+\]|\{[^{}]*\}|.", body, re.DOTALL)
    start = "" if text.startswith("/") else "(?:.*/)?"
    return re.compile(start + "".join(map(as_expression, tokens)), re.DOTALL)


def as_expression(token: str) -> str:
    """Return the regular expression of one token of a pattern."""
    fixed = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in fixed:
        return fixed[token]
    if len(token) > 1 and token.startswith("["):
        inner = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
        return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    if len(token) > 1 and token.startswith("{"):
        parts = (pattern_of("/" + part).pattern for part in token[1:-1].split(","))
        return f"(?:{'|'.join(parts)})"
    return re.escape(token)
