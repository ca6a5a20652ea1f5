"""What the broker says to an identity provider about a caller: a signed, short-lived statement (JWT, RFC 7519), the subject token
of a token exchange. It names the user and, as `act` (RFC 8693 section 4.1), the agent or workload that calls for them.
"""

from __future__ import annotations

import secrets
import warnings
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning

from broker.audit.keys import SigningKey
from broker.domain.calls import Caller

LASTS = timedelta(minutes=1)


def asserted(key: SigningKey, issuer: str, caller: Caller, audience: str, now: datetime) -> str:
    """Return the statement, signed with the key that the broker publishes under `/.well-known/jwks.json`."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": caller.user,
        "aud": audience,
        "iat": int(now.timestamp()),
        "exp": int((now + LASTS).timestamp()),
        "jti": secrets.token_urlsafe(16),
    }
    actor = caller.workload or caller.agent
    if actor:
        claims["act"] = {"sub": actor}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # RFC 9864 renames EdDSA; providers know the old name
        return jwt.encode({"alg": "EdDSA", "kid": key.name, "typ": "JWT"}, claims, key.jwk, algorithms=["EdDSA"])
