"""Results that the nodes keep as objects in JSON, so that every process shows them.

A newer program may write another format: what can't be understood is passed over.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

from amazin.cluster.cluster import Cluster
from amazin.errors import NodeProtocolError, NoSuchKeyError
from amazin.model.bodies import HeldBody
from amazin.model.objects import ObjectName

_FORMAT = 1
_HEADERS = {"Content-Type": "application/json"}


@dataclass
class StoredResult:
    """The base of the dataclasses that are stored so."""

    def dump(self) -> bytes:
        """Return the stored form."""
        return json.dumps({"format": _FORMAT, **asdict(self)}).encode()

    @classmethod
    def load(cls, data: bytes) -> Self | None:
        """Read the stored form; None: a newer program wrote it.

        Raises: NodeProtocolError.
        """
        try:
            found = json.loads(data)
            return cls.of(found) if found.pop("format") == _FORMAT else None
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise NodeProtocolError(f"a {cls.__name__} is not readable") from exc

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Return the result with these fields, as JSON has them."""
        return cls(**fields)


Result = TypeVar("Result", bound=StoredResult)


def read_stored(
    cluster: Cluster, name: ObjectName, kind: type[Result]
) -> Result | None:
    """Return what is stored; None: there is nothing. Raises: as `Cluster.get`."""
    try:
        content = cluster.get(name).content
    except NoSuchKeyError:
        return None
    with closing(content):
        return kind.load(b"".join(iter(content.read, b"")))


def write_stored(cluster: Cluster, name: ObjectName, result: StoredResult) -> None:
    """Store a result. Raises: as `Cluster.put`."""
    cluster.put(name, HeldBody(result.dump()), _HEADERS)
