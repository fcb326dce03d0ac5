"""The trace to which a request belongs, as its client says.

Source: W3C Trace Context, section 3.2.
"""

from __future__ import annotations

import re

_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
"""Later versions may have more behind it."""


def trace_fields(parent: str) -> dict[str, str]:
    """Return what the log has of the header traceparent; empty: it is not valid."""
    found = _PARENT.match(parent)
    if not found:
        return {}
    rest = parent[found.end() :]
    is_whole = not rest or (rest.startswith("-") and not parent.startswith("00"))
    return {"traceId": found[1]} if is_whole else {}
