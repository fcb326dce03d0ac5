"""Many deletes in one request: `{"keys": ["a", "b/c", ...]}`.

An invalid request deletes nothing. In a valid one each key is deleted independently: a
failure does not affect the other keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import Context, copy_context
from itertools import islice, repeat

from amazin.access.grants import DELETE, OBJECTS, Place
from amazin.api.addresses import Address, address_of, bucket_of
from amazin.api.services import Services
from amazin.errors import BucketNotFoundError, GatewayError, HTTPError
from amazin.request_limits import require_wanted
from amazin.web.audit import audit_action
from amazin.web.errors import as_http_error
from amazin.web.json_body import PIECE_BYTES, read_strings
from amazin.web.messages import Request, Response, json_response
from amazin.web.server_quirks import limit_slowness

MAX_KEYS = 1000
MAX_BYTES = 4 * 2**20
"""Of the body: 1000 keys of 1024 bytes, with an escape for each letter beyond ASCII."""
KEYS_AT_ONCE = 32
"""So many are written to the spool at a time."""
AT_ONCE = 8
"""The number of keys that are deleted at the same time."""


def delete_objects(request: Request, services: Services, bucket: str) -> Response:
    """Delete these objects; 200 with the result for each key."""
    bucket = bucket_of(services.settings, bucket)
    if not services.buckets.was_there(bucket):
        raise BucketNotFoundError
    keys = read_keys(request, services, bucket)
    addresses = [address_of(services.settings, bucket, key) for key in keys]

    def failure(address: Address) -> dict[str, str] | None:
        require_wanted()
        place = Place(OBJECTS, bucket, address.key)
        try:
            request.require(DELETE, place)
            services.objects.delete(address.name)
        except GatewayError as exc:
            answer = exc if isinstance(exc, HTTPError) else as_http_error(exc)
            if answer:
                note(request, place, answer.status)
                return {
                    "key": address.key,
                    "code": answer.code,
                    "error": answer.message,
                }
            raise
        note(request, place, 204)
        return None

    # Threads don't inherit the request's limits; each call needs a context of its own.
    contexts = [copy_context() for _ in addresses]
    with ThreadPoolExecutor(AT_ONCE, "delete") as pool:
        failures = list(pool.map(Context.run, contexts, repeat(failure), addresses))
    deleted = [
        key for key, failed in zip(keys, failures, strict=True) if failed is None
    ]
    errors = [failed for failed in failures if failed]
    return json_response(200, {"deleted": deleted, "errors": errors})


def note(request: Request, place: Place, status: int) -> None:
    """Have the audit log show what became of one key."""
    if request.is_audited:
        audit_action(request, DELETE, place, status)


def read_keys(request: Request, services: Services, bucket: str) -> list[str]:
    """Return the keys in the body, without repetitions.

    The first one that is wrong, or too many, ends it. They are spooled meanwhile: many
    clients that stop in the middle must not fill the memory.

    Raises: HTTPError 400, 413, 422, 507; as `read_strings`.
    """
    lines = checked_lines(request, services, bucket)
    pieces = iter(lambda: b"".join(islice(lines, KEYS_AT_ONCE)), b"")
    limit_slowness(request.environ, services.settings.spool_timeout)
    with closing(services.spool.spool(pieces, in_memory=PIECE_BYTES)) as spooled:
        kept = b"".join(spooled.chunks()).splitlines()
    return list(dict.fromkeys(map(json.loads, kept)))


def checked_lines(request: Request, services: Services, bucket: str) -> Iterator[bytes]:
    """Yield a line of JSON for each valid key. Raises: as `read_keys`."""
    keys = read_strings(request.environ, MAX_BYTES, "keys")
    for number, key in enumerate(keys, 1):
        if number > MAX_KEYS:
            message = f"At most {MAX_KEYS} keys can be deleted at once"
            raise HTTPError(400, "TooManyKeys", message)
        require_valid(services, bucket, key, number)
        yield json.dumps(key).encode() + b"\n"


def require_valid(services: Services, bucket: str, key: str, number: int) -> None:
    """Raises: HTTPError 422, with the key's number."""
    try:
        address_of(services.settings, bucket, key)
    except HTTPError as exc:
        message = f"Key {number} of the list: {exc.message}"
        raise HTTPError(exc.status, exc.code, message) from None
