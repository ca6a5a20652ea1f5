"""Access tokens of outside issuers: the broker as an OAuth 2.1 resource server (RFC 9068, audience by RFC 8707).

The principal keeps both: the user for whom a call is made, and the client or workload that makes it (RFC 8693 `act`).
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from broker.domain.calls import Caller
from broker.errors import Unauthenticated
from broker.identity.issuers import Issuer, Keys
from broker.identity.secrets import hash_of
from broker.identity.spiffe import trust_domain

# Asymmetric only: with a shared secret, or none at all, anybody who knows the public key could sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
# Seconds that the clocks of issuer and broker may differ.
LEEWAY = 30
_LONGEST = 16 << 10
# The client: RFC 9068 section 2.2, OpenID Connect Core section 2, Okta, Microsoft Entra before its version 2.
_CLIENTS = ("client_id", "azp", "cid", "appid")
_LONGEST_NAME = 2048  # a SPIFFE ID (SPIFFE-ID, section 2.3)
# RFC 9068 section 2.1; what many issuers write instead; JWT-SVID section 2.2. Other kinds of tokens open nothing (RFC 8725).
_KINDS = ("", "at+jwt", "application/at+jwt", "jwt", "jose")
_REMEMBERED = 10_000


class _Recognised(msgspec.Struct, frozen=True):
    """A token whose signature held. It is looked at anew when its issuer's keys have been asked for again."""

    issuer: Keys
    key_id: str
    keys: KeySet
    times: dict[str, Any]
    caller: Caller


class AccessTokens:
    """Recognises JWT access tokens. `base` is the broker's public address: tokens have to be meant for it, or below it."""

    def __init__(self, issuers: Sequence[Issuer], *, base: str, clock: Callable[[], datetime]) -> None:
        known = [(issuer, Keys(issuer)) for issuer in issuers]
        self._issuers = {pair[0].issuer.rstrip("/"): pair for pair in known}
        self._domains = {pair[0].trust_domain: pair for pair in known if pair[0].trust_domain}
        self._base = base.rstrip("/")
        self._clock = clock
        self._recognised: dict[str, _Recognised] = {}

    @property
    def on(self) -> bool:
        return bool(self._issuers)

    async def authenticate(self, token: str) -> Caller:
        """Return who is behind a token. Raises `Unauthenticated`, which says what is wrong and nothing of what it holds."""
        if not token.isascii():
            raise Unauthenticated("the token is not known")
        hash = hash_of(token)
        known = self._recognised.get(hash)
        if known is None or await known.issuer.of(known.key_id) is not known.keys:
            known = await self._verified(token)
            if len(self._recognised) >= _REMEMBERED:
                self._recognised.clear()
            self._recognised[hash] = known
        self._check_times(known.times)
        return known.caller

    async def _verified(self, token: str) -> _Recognised:
        header, claimed = _unverified(token)
        known = self._issuer_of(claimed)
        if known is None:
            raise Unauthenticated("the token's issuer is not trusted here")
        issuer, source = known
        if header.get("alg") not in ALGORITHMS:
            raise Unauthenticated("the token's algorithm is not accepted")
        if str(header.get("typ", "")).lower() not in _KINDS:
            raise Unauthenticated("this is another kind of token than an access token")
        key_id = str(header.get("kid", ""))
        keys = await source.of(key_id)
        try:
            claims = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated(f"the token's signature does not hold ({type(error).__name__})") from None
        caller = _caller(claims, issuer, self._servers(claims, issuer))
        return _Recognised(source, key_id, keys, {name: claims[name] for name in ("exp", "nbf") if name in claims}, caller)

    def _issuer_of(self, claimed: Mapping[str, Any]) -> tuple[Issuer, Keys] | None:
        if "iss" in claimed:
            return self._issuers.get(str(claimed["iss"]).rstrip("/"))
        return self._domains.get(trust_domain(str(claimed.get("sub", ""))))

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock().timestamp()
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires, int | float) or isinstance(expires, bool) or now > expires + LEEWAY:
            raise Unauthenticated("the token has expired, or does not say when it does")
        if not isinstance(begins, int | float) or now < begins - LEEWAY:
            raise Unauthenticated("the token is not valid yet")

    def _servers(self, claims: Mapping[str, Any], issuer: Issuer) -> tuple[str, ...] | None:
        """The servers for which the audience stands: `<base>` and `<base>/mcp` are all, `<base>/mcp/<name>` is one."""
        told = claims.get("aud")
        audiences = [told] if isinstance(told, str) else told if isinstance(told, list) else []
        all_servers = {self._base, f"{self._base}/mcp"} if self._base else set[str]()
        if {*all_servers, *issuer.audiences} & {str(one).rstrip("/") for one in audiences}:
            return None
        prefix = f"{self._base}/mcp/"
        named = [str(one).removeprefix(prefix).rstrip("/") for one in audiences if str(one).startswith(prefix)]
        servers = tuple(named) if self._base else ()
        if not servers:
            raise Unauthenticated("the token is meant for somebody else")
        return servers


def _caller(claims: Mapping[str, Any], issuer: Issuer, servers: tuple[str, ...] | None) -> Caller:
    subject = _named(claims, issuer.user_claim)
    if not subject:
        raise Unauthenticated(f"the token has no claim {issuer.user_claim}")
    if issuer.user_claim == "email" and claims.get("email_verified") in (False, "false"):
        raise Unauthenticated("the token's issuer has not verified the address")
    client = next(filter(None, (_named(claims, claim) for claim in _CLIENTS)), "")
    named = trust_domain(subject)
    if subject.startswith("spiffe:") and (not named or named != issuer.trust_domain):
        raise Unauthenticated("the token's issuer may not name workloads of this trust domain")
    acting = _acting(claims)
    workload = acting if issuer.trust_domain and trust_domain(acting) == issuer.trust_domain else ""
    told = claims.get(issuer.groups_claim) or ()
    groups = tuple(group for group in told if isinstance(group, str)) if isinstance(told, list | tuple) else ()
    service = issuer.workloads or bool(named) or _for_itself(claims, {subject, _named(claims, "sub")}, client)
    return Caller(
        agent=acting or client,
        user="" if service else subject,
        workload=subject if service else workload,
        groups=groups,
        servers=servers,
        surface=_told(claims, issuer.surface_claim),
        conversation=_told(claims, issuer.conversation_claim),
    )


def _for_itself(claims: Mapping[str, Any], subjects: Set[str], client: str) -> bool:
    """Did a client get the token for itself, with no user behind it? Issuers say so in ways of their own."""
    return (
        (bool(client) and not subjects.isdisjoint((client, f"{client}@clients")))  # RFC 9068, section 2.2; Auth0
        or claims.get("gty") == "client-credentials"  # Auth0
        or claims.get("idtyp") == "app"  # Microsoft Entra
        or str(claims.get("preferred_username", "")).startswith("service-account-")  # Keycloak
    )


def _acting(claims: Mapping[str, Any]) -> str:
    """Who acts for the subject (RFC 8693, section 4.1). Raises `Unauthenticated` where somebody does and it can't be read who."""
    actor = claims.get("act")
    if actor is not None and not isinstance(actor, dict):
        raise Unauthenticated("the token does not say who acts")
    return _named(actor or {}, "sub")


def _named(claims: Mapping[str, Any], claim: str) -> str:
    """Return a name out of a claim, empty where there is none. Raises `Unauthenticated` for what could be read as another."""
    told = claims.get(claim)
    if isinstance(told, int) and not isinstance(told, bool):
        return str(told)
    if not told:
        return ""
    if not isinstance(told, str) or not told.isprintable() or told != told.strip() or len(told) > _LONGEST_NAME:
        raise Unauthenticated(f"the token's claim {claim} is no plain name")
    return told


def _told(claims: Mapping[str, Any], name: str) -> str:
    """A claim that the issuer vouches for; empty where the issuer is not asked for it, or says no plain word."""
    told = claims.get(name) if name else None
    return told if isinstance(told, str) else ""


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims as the token itself has them: only to find the issuer's keys."""
    try:
        if len(token) > _LONGEST:
            raise ValueError
        head, body, _ = token.split(".")
        header, claims = (json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (head, body))
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError
    except (ValueError, UnicodeError, RecursionError):
        raise Unauthenticated("the token is not known") from None
    return header, claims
