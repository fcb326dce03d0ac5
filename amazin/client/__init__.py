"""A client of a gateway: store, fetch, list and remove objects from a program.

    from amazin.client import GatewayClient

    client = GatewayClient("http://localhost:3000", token=None)
    client.make_bucket("photos")
    with open("cat.jpg", "rb") as file:
        stored = client.put("photos/cat.jpg", file, headers={"X-Meta-Owner": "ann"})
    with client.get("photos/cat.jpg") as stream:
        print(stream.info.size, sum(map(len, stream)))
    for entry in client.list("photos", "2026/"):
        print(entry.key, entry.size, entry.etag)
    client.delete("photos/2026/cat.jpg")

An address is the id of an object or, with a slash, its bucket and key. The MD5 of
uploads and downloads is checked, and a download continues if its connection breaks.
Memory does not grow with objects or lists. Threads may share a client; `close()`, or
the end of a `with`, closes its connections. Every error is a `ClientError`.
"""

from amazin.client.client import GatewayClient, Unremoved
from amazin.client.objects import StoredObject
from amazin.client.streams import ObjectStream
from amazin.errors import (
    ClientError,
    DamagedError,
    LocalError,
    ObjectChangedError,
    RefusedError,
)

__all__ = [
    "ClientError",
    "DamagedError",
    "GatewayClient",
    "LocalError",
    "ObjectChangedError",
    "ObjectStream",
    "RefusedError",
    "StoredObject",
    "Unremoved",
]
