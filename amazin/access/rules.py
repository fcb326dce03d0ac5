"""The rules that are in force at one moment: principals, their credentials, pages."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from amazin.access.grants import (
    EVERYTHING,
    NOBODY,
    CorsRule,
    Credential,
    Place,
    Principal,
)
from amazin.settings.settings import Settings
from amazin.signing.urls import SigningKey

CHECKED = "AMAZIN_ACCESS_CHECKED"
"""The variable that tells workers that the file was good when the server started."""
OWN_PREFIX = "amazin."
"""Begins the id of a key that signs URLs in the name of a principal."""
_UNKNOWN = secrets.token_hex(32)
"""Whoever claims an unknown id is verified against this: that takes the same time."""


@dataclass(frozen=True)
class Rules:
    """Principals, and by what they are known."""

    anonymous: Principal = NOBODY
    principals: Mapping[str, Principal] = field(default_factory=dict)
    tokens: Mapping[bytes, Credential] = field(default_factory=dict)
    """By the SHA-256 of the token: finding one takes no longer if it nearly fits."""
    keys: Mapping[str, Credential] = field(default_factory=dict)
    """By the id of a key of S3."""
    cors: tuple[CorsRule, ...] = ()

    def cors_rule(self, origin: str, method: str, place: Place) -> CorsRule | None:
        """Return the first rule for a page that asks so; None: it may not."""
        for rule in self.cors:
            if rule.fits(origin, method, place):
                return rule
        return None


def with_settings(rules: Rules, settings: Settings) -> Rules:
    """Return the rules together with `API_TOKENS`, which permit everything."""
    admin = Credential(Principal("API_TOKENS", EVERYTHING, is_named=False))
    own = {digest_of(token.encode()): admin for token in settings.api_tokens}
    return replace(rules, tokens={**rules.tokens, **own})


def digest_of(token: bytes) -> bytes:
    """Return by what a token is known."""
    return sha256(token).digest()


def signer_of(settings: Settings, principal: Principal) -> SigningKey:
    """Return the key that signs URLs in the name of a principal."""
    if not principal.is_named:
        return SigningKey(settings.signing_key_id, settings.signing_secret)
    text = f"presigned URL\n{principal.name}".encode()
    secret = hmac.digest(settings.signing_secret.encode(), text, "sha256").hex()
    return SigningKey(OWN_PREFIX + principal.name, secret)


def key_for(
    rules: Rules, settings: Settings, key_id: str
) -> tuple[SigningKey, Credential | None]:
    """Return the key with this id, and whose it is; None: it is not known."""
    if key_id in rules.keys:
        credential = rules.keys[key_id]
        return SigningKey(key_id, credential.secret), credential
    if settings.signing_secret:
        if key_id == settings.signing_key_id:
            signer = Principal("SIGNING_SECRET", EVERYTHING, is_named=False)
            return signer_of(settings, signer), Credential(signer)
        principal = rules.principals.get(key_id.removeprefix(OWN_PREFIX))
        if principal and key_id.startswith(OWN_PREFIX):
            return signer_of(settings, principal), Credential(principal)
    return SigningKey(key_id, _UNKNOWN), None
