"""Which proxy the environment names for a URL. Opens no connection."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass


def proxy_for(url: str) -> str:
    """Return the proxy for a URL from the environment; empty: there is none.

    As with most programs it is in `http_proxy` or `https_proxy`, and `no_proxy` names
    hosts, domains and networks without one; all also in upper case. This machine itself
    is asked directly.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    host = parts.hostname or ""
    try:
        proxies = getproxies_environment()
        proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
        if not proxy or is_near(host, proxies.get("no", "")):
            return ""
        if proxy_bypass(f"{host}:{parts.port or ''}".rstrip(":")):
            return ""
    except ValueError:  # a port that is none: the URL is refused elsewhere
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def is_near(host: str, direct: str) -> bool:
    """Whether a host is this machine, or in one of the networks in `no_proxy`."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    networks = (part.strip() for part in direct.split(","))
    return address.is_loopback or any(is_within(address, part) for part in networks)


def is_within(address: IPv4Address | IPv6Address, network: str) -> bool:
    """Whether an address is in a network; False: the text is none."""
    try:
        return "/" in network and address in ip_network(network, strict=False)
    except ValueError:
        return False
