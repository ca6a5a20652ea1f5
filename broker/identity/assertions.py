"""What the broker says about a caller under its signature: short-lived statements (JWT, RFC 7519) for two kinds of readers.

An identity provider gets the subject token of a token exchange: the user and, as `act` (RFC 8693 section 4.1), the agent or
workload that calls for them. A guarded server that wants to know who calls gets the same with the caller's groups.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning

from broker.audit.keys import PublicKeys, SigningKey
from broker.domain.calls import Caller
from broker.errors import Unauthenticated

LASTS = timedelta(minutes=1)
# The header in which a server is told who calls, and the type of what stands there (RFC 8725, section 3.11).
HEADER = "approval-broker-caller"
KIND = "approval-caller+jwt"
# Seconds that the clocks of broker and server may differ.
LEEWAY = 30


def asserted(key: SigningKey, issuer: str, caller: Caller, audience: str, now: datetime) -> str:
    """Return the statement for a provider, signed with the key that the broker publishes under `/.well-known/jwks.json`."""
    return _signed(key, "JWT", _claims(issuer, caller, audience, now))


def introducing(
    key: SigningKey, issuer: str, caller: Caller, groups: Sequence[str], server: str, now: datetime
) -> str:  # fmt: skip
    """Return the statement for a guarded server, by its name in the catalogue."""
    told = {"groups": list(groups), "agent": caller.agent, "workload": caller.workload}
    return _signed(key, KIND, _claims(issuer, caller, server, now) | told)


def introduced(statement: str, keys: PublicKeys, *, server: str, issuer: str, now: datetime) -> Caller:
    """Return who calls `server`, as the broker says. Raises `Unauthenticated`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # as below
            told = jwt.decode(statement, keys.as_set(), algorithms=["EdDSA"])
        claims, at = told.claims, now.timestamp()
        fits = told.header.get("typ") == KIND and claims["aud"] == server and issuer in ("", claims["iss"])
        if not fits or not claims["iat"] - LEEWAY <= at <= claims["exp"] + LEEWAY:
            raise Unauthenticated("the broker's word about the caller is old, or for another server")
        return Caller(
            agent=claims["agent"], user=claims["sub"], workload=claims["workload"], groups=tuple(map(str, claims["groups"]))
        )  # fmt: skip
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise Unauthenticated(f"the broker's word about the caller does not hold ({type(error).__name__})") from None


def _claims(issuer: str, caller: Caller, audience: str, now: datetime) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": caller.user,
        "aud": audience,
        "iat": int(now.timestamp()),
        "exp": int((now + LASTS).timestamp()),
        "jti": secrets.token_urlsafe(16),
    }
    actor = caller.workload or caller.agent
    return claims | ({"act": {"sub": actor}} if actor else {})


def _signed(key: SigningKey, kind: str, claims: dict[str, Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # RFC 9864 renames EdDSA; providers know the old name
        return jwt.encode({"alg": "EdDSA", "kid": key.name, "typ": kind}, claims, key.jwk, algorithms=["EdDSA"])
