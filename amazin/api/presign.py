"""Presigned URLs: `POST /presigned-url/{bucket}/{key}`, or `/presigned-url/{key}`.

A URL points to the gateway and is signed with its own key; with `PRESIGN=direct` it
points to a node that holds the object. `web/access.py` decides what such URLs permit.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

from amazin.access.grants import ANY, OBJECTS, READ, WRITE, Place
from amazin.api.addresses import Address, address_of, of_key
from amazin.api.services import Services
from amazin.errors import HTTPError
from amazin.settings.settings import Settings
from amazin.signing.urls import LONGEST_SECONDS, SigningKey, signed_url
from amazin.units import parse_duration
from amazin.web.access import signing_key
from amazin.web.audit import PRESIGN
from amazin.web.json_body import read_json
from amazin.web.messages import Request, Response, Route, json_response, no_credentials

MAX_BODY_BYTES = 64 * 1024
DEFAULT_EXPIRY = "15m"
_PATH = re.compile(r"/presigned-url/(?:([^/]+)/)?(.*)", re.DOTALL)
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class Order(NamedTuple):
    """What a URL permits, and for how many seconds."""

    method: str
    seconds: int


def presign(request: Request, services: Services, bucket: str, key: str) -> Response:
    """Return a URL that permits GET or PUT of one object for a limited time."""
    settings = services.settings
    if request.is_presigned and settings.access == "signed":
        raise no_credentials()
    address = address_of(settings, bucket, key)
    order = read_order(request.environ)
    place = Place(OBJECTS, address.bucket, key)
    request.require(READ if order.method == "GET" else WRITE, place)
    request.decision = (PRESIGN, place)
    if settings.presign == "direct":
        url = node_url(services, address, order)
    else:
        base = own_address(request, settings)
        path = f"/objects/{address.bucket}/{key}"
        signer = signing_key(settings, request.principal)
        url = signed_url(signer, order.method, base, path, order.seconds, time.time())
    body = {"url": url, "method": order.method, "key": key, "bucket": address.bucket}
    return json_response(200, body)


ROUTES = (Route("POST", _PATH, presign, ANY, of_key, takes_json=True),)


def own_address(request: Request, settings: Settings) -> str:
    """Return the address of this gateway: PUBLIC_URL, or the one in this request.

    Raises: HTTPError 400.
    """
    if settings.public_url:
        return settings.public_url
    host = request.header("Host") or ""
    if not _HOST.fullmatch(host):
        message = "Send a Host header, name or address, with which to make the URL"
        raise HTTPError(400, "InvalidHost", message)
    return f"{request.environ['wsgi.url_scheme']}://{host}"


def node_url(services: Services, address: Address, order: Order) -> str:
    """Return a URL for the node that holds the newest version.

    Raises:
        HTTPError: 501 for methods other than GET, and for a node without a URL.
        NoSuchKeyError, NodeError, NoNodesError, NotSupportedError: as
            `LargeObjectStore.holder`.
    """
    if order.method != "GET":
        # A node knows neither stamps nor replicas: the object would have no stamp, and
        # be the oldest version, on one node only.
        message = "With PRESIGN=direct there are URLs for GET only; upload here"
        raise HTTPError(501, "NotSupported", message)
    name = address.name
    spec = services.objects.holder(name).spec
    endpoint = spec.endpoint or ""
    if not endpoint.startswith(("http://", "https://")):
        message = "The node of this object is a folder: no URL leads to it"
        raise HTTPError(501, "NotSupported", message)
    signer = SigningKey(spec.access_key, spec.secret_key, spec.region)
    path = f"/{name.bucket}/{name.key}"
    return signed_url(signer, "GET", endpoint, path, order.seconds, time.time())


def read_order(environ: WSGIEnvironment) -> Order:
    """Parse the body: `{"method": "GET" or "PUT", "expiry": "15m"}`.

    Raises:
        HTTPError: 400, 411 or 413.
        BodyError, LateError: as `read_json`.
    """
    given = read_json(environ, MAX_BODY_BYTES)
    if not isinstance(given, dict) or not given.keys() <= {"method", "expiry"}:
        message = 'Send a JSON object of "method" and "expiry", with nothing else in it'
        raise HTTPError(400, "InvalidBody", message)
    if given.get("method") not in ("GET", "PUT"):
        raise HTTPError(400, "InvalidMethod", '"method" must be "GET" or "PUT"')
    expiry = given.get("expiry", DEFAULT_EXPIRY)
    seconds = seconds_of(expiry or DEFAULT_EXPIRY) if isinstance(expiry, str) else None
    if seconds is None or not 1 <= seconds <= LONGEST_SECONDS:
        message = '"expiry" must be from "1s" to "168h", like "15m" or "1h30m"'
        raise HTTPError(400, "InvalidExpiry", message)
    return Order(given["method"], seconds)


def seconds_of(duration: str) -> int | None:
    """Return the whole seconds of a duration as Go writes it; None: it is invalid."""
    seconds = parse_duration(duration)
    return None if seconds is None else int(seconds)
