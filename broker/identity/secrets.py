"""Secrets that we hand out: 256 random bits under a prefix that says what they open. Only their hash is kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from enum import StrEnum

from broker.errors import Unauthenticated


class Kind(StrEnum):
    """What a secret opens. Its value is the word under which the hash is kept."""

    AGENT = "agent"
    PERSON = "person"
    LINK = "link"
    SESSION = "session"


_KINDS = {kind.value: kind for kind in Kind}
_SHAPE = re.compile(r"broker-([a-z]+)-[A-Za-z0-9_-]{43}", re.ASCII)
_BEARER = re.compile(r"Bearer +(\S+)", re.ASCII | re.IGNORECASE)
# As nearly everybody writes it: anything else takes the longer way to what is wrong with it.
_OURS = {kind: re.compile(rf"Bearer (broker-{kind.value}-[A-Za-z0-9_-]{{43}})", re.ASCII) for kind in Kind}


def new_secret(kind: Kind) -> str:
    """Return a fresh secret, e.g. `broker-agent-…`: 43 characters of base64url after the prefix, which secret scanners know."""
    return f"broker-{kind.value}-{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> str:
    """Return the SHA-256 (hex) under which a secret is kept. Unsalted: there is nothing to guess in 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def kind_of(secret: str) -> Kind | None:
    """Return what a text claims to open, None where it is none of our secrets."""
    shape = _SHAPE.fullmatch(secret)
    return _KINDS.get(shape[1]) if shape else None


def carried(authorization: str) -> str | None:
    """Return the token of an `Authorization: Bearer …` header (RFC 6750, section 2.1), None where the header is none."""
    header = _BEARER.fullmatch(authorization.strip())
    return header[1] if header is not None else None


def bearer(authorization: str | None, expected: Kind) -> str:
    """Return the secret that an Authorization header carries.

    Raises `Unauthenticated` unless it is one of the `expected` kind: an agent's token opens no page for people, and no
    person's token makes calls.
    """
    if not authorization:
        raise Unauthenticated("a bearer token is needed")
    if (plain := _OURS[expected].fullmatch(authorization)) is not None:
        return plain[1]
    secret = carried(authorization)
    if secret is None:
        raise Unauthenticated("the Authorization header has to be `Bearer` and a token")
    kind = kind_of(secret)
    if kind is None:
        raise Unauthenticated("the token is not known")
    if kind is not expected:
        raise Unauthenticated(f"this is a token of kind `{kind.value}`, and one of kind `{expected.value}` is needed")
    return secret
