"""The Consul agent: connects to it, and describes its failures.

Knows nothing of nodes or gateways. Client: https://github.com/criteo/py-consul, an
extra. API: https://developer.hashicorp.com/consul/api-docs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from consul import Consul
from consul.exceptions import ACLDisabled, ACLPermissionDenied, ConsulException
from urllib3.exceptions import HTTPError

AGENT_TIMEOUT_SECONDS = 2.0
"""For connecting, and for each part of a response."""
DEFAULT_PORT = 8500

AGENT_ERRORS = (
    *(ConsulException, requests.RequestException, HTTPError, OSError),
    *(ValueError, LookupError, TypeError, AttributeError),
)
"""The exceptions of the client and its libraries, and those for invalid responses."""

Connect = Callable[[str, str], Consul]
"""Takes the address and the token as they are in the settings."""


class TimedSession(requests.Session):
    """A session with a time limit for requests, because the client sets none."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send one request. Raises: requests.RequestException."""
        options.setdefault("timeout", AGENT_TIMEOUT_SECONDS)
        return super().request(*args, **options)


def connect_agent(address: str, token: str = "") -> Consul:
    """Return a client of the agent at `host:port` or a URL; its first call connects.

    Raises: ValueError, for an invalid address.
    """
    scheme, host, port = split_address(address)
    # Without a scheme the client uses CONSUL_HTTP_SSL.
    said = scheme if "://" in address else None
    client = Consul(bracketed(host), port, scheme=said)
    client.token = token or client.token  # the default is CONSUL_HTTP_TOKEN
    client.http.session.close()
    client.http.session = TimedSession()
    if client.token:  # some of the client's calls don't send it
        client.http.session.headers["X-Consul-Token"] = client.token
    return client


def disconnect(client: Consul) -> None:
    """Close the connections of a client."""
    client.http.session.close()


def split_address(address: str) -> tuple[str, str, int]:
    """Return scheme, host (IPv6 without brackets) and port. Raises: ValueError."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if not parts.hostname:
        raise ValueError("the address of the Consul agent has no host")
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORT


def bracketed(host: str) -> str:
    """Return a host as URLs write it: IPv6 in brackets. The host is not checked."""
    return f"[{host}]" if ":" in host else host


def describe(error: BaseException) -> str:
    """Return a sentence, fit for clients, on what is wrong with the agent."""
    if isinstance(error, (ACLDisabled, ACLPermissionDenied)):
        return "Consul refuses the gateway's token"
    if isinstance(error, ConsulException):
        return "The Consul agent answers with an error"
    if isinstance(error, (requests.RequestException, HTTPError, OSError)):
        return "The Consul agent does not answer"
    return "The Consul agent gives an answer that can't be read"
