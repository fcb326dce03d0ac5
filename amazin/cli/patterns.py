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
TOKEN = r"\\[][*?{}\\]|\*\*|\[[!^]?[^]/]+\]|\{[^{}]*\}|."


def matches(patterns: Iterable[re.Pattern[str]], name: str) -> bool:
    """Whether a name matches one of the patterns."""
    return any(pattern.fullmatch(name) for pattern in patterns)


def as_patterns(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[re.Pattern[str], ...]:
    """Convert patterns. Raises: BadParameter."""
    found = []
    for value in values:
        try:
            found.append(pattern_of(value))
        except (ValueError, re.error):
            message = (
                f"{value!r} is no pattern like '*.jpg', '{{a,b}}*' or 'tmp/'; a "
                "bracket that is part of a name has a backslash in front"
            )
            raise click.BadParameter(message, context, option) from None
    return tuple(found)


def pattern_of(text: str) -> re.Pattern[str]:
    """Return what matches the paths that a pattern names.

    `*` and `?` match no slash, `**` does; `[abc]` and `{a,b}` are alternatives. A
    pattern begins anywhere behind a slash, with a slash in front at the top only. One
    that ends in a slash takes all that is below. Behind a backslash such a character
    stands for itself. Source: rclone's filters.

    Raises: ValueError: it is empty, or has a bracket alone. re.error.
    """
    if not text.strip("/"):
        raise ValueError
    body = text.removeprefix("/") + ("**" if text.endswith("/") else "")
    start = "" if text.startswith("/") else "(?:.*/)?"
    return re.compile(start + expression_of(body), re.DOTALL)


def expression_of(text: str) -> str:
    """Return the regular expression of a part of a pattern. Raises: ValueError."""
    return "".join(map(as_expression, re.findall(TOKEN, text, re.DOTALL)))


def as_expression(token: str) -> str:
    """Return the regular expression of one token of a pattern. Raises: ValueError."""
    if token in ("[", "{", "}"):
        raise ValueError
    if len(token) > 1 and token.startswith("\\"):
        return re.escape(token[1])
    fixed = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in fixed:
        return fixed[token]
    if len(token) > 1 and token.startswith("["):
        inner = re.sub(r"([][\\&|~])", r"\\\1", token[1:-1])
        return f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    if len(token) > 1 and token.startswith("{"):
        parts = map(expression_of, token[1:-1].split(","))
        return f"(?:{'|'.join(parts)})"
    return re.escape(token)
