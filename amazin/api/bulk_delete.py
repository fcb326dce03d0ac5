"""Many deletes in one request: `{"keys": ["a", "b/c", ...]}`.

An invalid request deletes nothing. In a valid one each key is deleted independently: a
failure does not affect the other keys.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from amazin.api.addresses import Address, address_of, bucket_of
from amazin.api.services import Services
from amazin.errors import BucketNotFoundError, GatewayError, HTTPError
from amazin.web.errors import as_http_error
from amazin.web.json_body import read_json
from amazin.web.messages import Request, Response, json_response

MAX_KEYS = 1000
MAX_BYTES = 4 * 2**20
"""Of the body: 1000 keys of 1024 bytes, with an escape for each letter beyond ASCII."""
AT_ONCE = 8
"""The number of keys that are deleted at the same time."""


def delete_objects(request: Request, services: Services, bucket: str) -> Response:
    """Delete these objects; 200 with the result for each key."""
    bucket = bucket_of(services.settings, bucket)
    keys = keys_in(read_json(request.environ, MAX_BYTES))
    addresses = [
        addressed(services, bucket, key, number) for number, key in enumerate(keys, 1)
    ]
    if not services.buckets.was_there(bucket):
        raise BucketNotFoundError

    def failure(address: Address) -> dict[str, str] | None:
        try:
            services.objects.delete(address.name)
        except GatewayError as exc:
            if answer := as_http_error(exc):
                return {
                    "key": address.key,
                    "code": answer.code,
                    "error": answer.message,
                }
            raise
        return None

    with ThreadPoolExecutor(AT_ONCE, "delete") as pool:
        failures = list(pool.map(failure, addresses))
    deleted = [
        key for key, failed in zip(keys, failures, strict=True) if failed is None
    ]
    errors = [failed for failed in failures if failed]
    return json_response(200, {"deleted": deleted, "errors": errors})


def addressed(services: Services, bucket: str, key: str, number: int) -> Address:
    """Return the object of a key. Raises: HTTPError 422, with the key's number."""
    try:
        return address_of(services.settings, bucket, key)
    except HTTPError as exc:
        message = f"Key {number} of the list: {exc.message}"
        raise HTTPError(exc.status, exc.code, message) from None


def keys_in(value: Any) -> list[str]:
    """Return the keys in the body, without repetitions. Raises: HTTPError 400."""
    if not isinstance(value, dict) or value.keys() != {"keys"}:
        raise invalid('The body is a JSON object with nothing but "keys"')
    keys = value["keys"]
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise invalid('"keys" is an array of strings')
    if len(keys) > MAX_KEYS:
        message = f"At most {MAX_KEYS} keys can be deleted at once"
        raise HTTPError(400, "TooManyKeys", message)
    return list(dict.fromkeys(keys))


def invalid(message: str) -> HTTPError:
    """Return the error for an invalid body."""
    return HTTPError(400, "InvalidBody", message)
