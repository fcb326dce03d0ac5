"""What every listing of a node must be, whatever its kind: in order, in its prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from amazin.blocking import pause
from amazin.errors import NodeProtocolError
from amazin.request_limits import require_wanted

KEYS_AT_ONCE = 100
"""After so many keys it is the turn of other requests."""

T = TypeVar("T")


def in_order(
    listed: Iterable[tuple[str, T]], prefix: str, after: str
) -> Iterator[tuple[str, T]]:
    """Yield keys with what is known of them, as a listing has them.

    Raises: NodeProtocolError, at a key that does not start with `prefix`, or does not
    sort behind `after` and the key before, by UTF-8 bytes; as `require_wanted`.
    """
    last = after.encode()
    for count, (key, known) in enumerate(listed, 1):
        data = key.encode()
        if data <= last or not key.startswith(prefix):
            raise NodeProtocolError("the node's list is not in order")
        last = data
        if count % KEYS_AT_ONCE == 0:
            require_wanted()
            pause()
        yield key, known
