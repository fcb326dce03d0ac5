"""Which `X-...` headers are metadata of an object or a blob, by their names. Pure.

The patterns hold in both directions: for what an upload stores, and for what is sent
with a download, whoever stored it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

INFRASTRUCTURE: Mapping[str, str] = {
    "Addresses and ways": (
        "X-Forwarded X-Forwarded-* X-Forward-For X-Real-* X-Client-IP X-Client-Port "
        "X-Client-Proto X-Client-Host X-Client-Trace-Id X-Client-Data "
        "X-Cluster-Client-IP X-True-Client-IP X-ProxyUser-IP X-Proxy-* X-Remote-* "
        "X-Host X-HTTP-Host* X-Server-Name X-Server-Port X-Scheme X-Url-Scheme "
        "X-Original-URI X-Original-URL X-Original-Host X-Original-Method "
        "X-Original-Path X-Original-Query X-Original-Proto X-Original-Scheme "
        "X-Original-Port X-Original-Forwarded-* X-Original-Remote-* "
        "X-Original-Client-* X-Rewrite-URL X-Replaced-Path X-Via X-Bluecoat-* "
        "X-IMForwards X-Backend X-Backend-* X-Upstream-* X-Ingress-* X-GeoIP-* "
        "X-Country-Code X-MSISDN X-UIDH X-ACR X-Up-* X-WAP-* X-Nokia-*"
    ),
    "Who asks": (
        "X-Auth X-Auth-* X-Access-Token X-ID-Token X-Refresh-Token X-User-Token "
        "X-Token X-JWT* X-OIDC-* X-OAuth-* X-Api-Key X-Api-Token X-ApiKey "
        "X-Secret X-Secret-* X-Password X-CSRF* X-XSRF* X-Session X-Session-* "
        "X-Authenticated-* X-Authorization X-Authorization-* X-Authentik-* "
        "X-Authelia-* X-Keycloak-* X-Vouch-* X-Pomerium-* X-Anonymous-Consumer "
        "X-Consumer-* X-Credential-* X-Userinfo X-Identity X-Identity-* X-WebAuth-* "
        "X-Endpoint-API-UserInfo X-Vault-* X-Consul-* X-Gitlab-* X-GitHub-* "
        "X-Hub-Signature* X-Client-Cert* X-Client-Verify X-Client-DN X-SSL-* X-TLS-*"
    ),
    "Traces and counts": (
        "X-Request-* X-RequestId X-Req-Id X-Correlation-* X-CorrelationId X-Unique-Id "
        "X-Transaction-Id X-Trace X-Trace-* X-Span-* X-Parent-Span-* X-B3-* "
        "X-OT-Span-* X-Cloud-Trace-* X-Datadog-* X-NewRelic-* X-Instana-* X-Dynatrace* "
        "X-SkyWalking-* X-Queue-Start X-Queue-Time X-Timer X-RateLimit-* "
        "X-Rate-Limit-*"
    ),
    "Clouds, networks and proxies": (
        "X-Amz-* X-Amzn-* X-Goog-* X-Google-* X-AppEngine-* X-Azure-* X-ARR-* X-MS-* "
        "X-AppService-* X-FD-* X-WAWS-* X-Site-Deployment-Id X-DAAS-* "
        "X-MicrosoftAjax X-Edge-* X-CDN X-CDN-* X-Akamai-* X-Fastly-* X-Sucuri-* "
        "X-Incap-* X-Vercel-* X-Now-* X-NF-* X-Heroku-* X-CF-* X-Fly-* X-Render-* "
        "X-Envoy-* X-Istio-* X-Kong-* X-Traefik-* X-HAProxy-* X-Nginx-* X-Varnish "
        "X-Varnish-* X-Squid-* X-ATS-* X-Tyk-* X-Apigee-* X-APISIX-* X-Dapr-* "
        "X-Zscaler-* X-Cache X-Cache-* X-Cached-* X-Proxy-Cache X-Rack-* "
        "X-Served-By X-Middleware-* X-Minio-*"
    ),
    "Orders to a server or a browser": (
        "X-Accel-* X-Sendfile* X-Send-File X-Lighttpd-* X-LiteSpeed-* X-Reproxy-* "
        "X-Archive-* X-HTTP-Method* X-Method-Override X-Copy-Source* X-Amazin-* "
        "X-Frame-Options X-XSS-Protection X-Content-Type-Options "
        "X-Content-Security-Policy* X-WebKit-CSP* X-DNS-Prefetch-Control "
        "X-Download-Options X-Permitted-Cross-Domain-Policies X-UA-Compatible"
    ),
}
"""Headers that proxies, logins and servers add, by what they tell; `*` stands for any
text. The list in `docs/headers.md` is the same. `X-Amz-Meta-...` is none of them."""
_ALWAYS = ("X-Meta-*", "X-Amz-Meta-*")
"""What all uploads may bring along."""


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(re.escape(name).replace(r"\*", ".*") for name in names)


_ADDED = _alternatives(name for row in INFRASTRUCTURE.values() for name in row.split())
BLOB_METADATA = re.compile(
    rf"(?:{_alternatives(_ALWAYS)})|(?!(?:{_ADDED})\Z)X-.+", re.IGNORECASE | re.DOTALL
)
"""Matches the names that are kept with a blob: all but those of `INFRASTRUCTURE`."""


def object_metadata(names: Iterable[str] = ()) -> re.Pattern[str]:
    """Return what matches the names that are kept with an object: also these."""
    return re.compile(_alternatives((*_ALWAYS, *names)), re.IGNORECASE | re.DOTALL)
