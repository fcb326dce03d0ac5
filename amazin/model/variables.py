"""Texts that a shell or a template should have changed, and did not. Pure."""

from __future__ import annotations

import re

_VARIABLE = re.compile(
    r"\$\{|\$\(|\{\{"  # ${TOKEN}, $(cat token), {{ token }}
    r"|(?<![^\s=:/,@])\$[A-Z_][A-Z0-9_]*(?![^\s:/,@;])"  # $TOKEN between separators
)


def refuse_variables(text: str) -> None:
    """Check that nothing was to be filled in.

    Nobody would do that here, and whoever knows the template would know the secret.
    Raises: ValueError.
    """
    if _VARIABLE.search(text):
        raise ValueError("expected the value itself; $ and {{ }} are not filled in")


def refuse_quotes(text: str) -> None:
    """Check that the text is not in quotes, as files for `docker run` keep them.

    Raises: ValueError.
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        raise ValueError("expected the value without the quotes around it")
