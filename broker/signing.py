"""What the broker says under its signature, wired: receipts for servers, statements about callers for identity providers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from broker.audit.keys import SigningKey
from broker.audit.receipts import RECEIPT, Issuer
from broker.identity.assertions import asserted
from broker.upstream.credentials import Assert
from broker.upstream.http_release import Stamp


def stamp(key: SigningKey, issuer: str, clock: Callable[[], datetime]) -> Stamp:
    """Every release carries the receipt of its approval: a server may demand it, so that nobody gets around the broker."""
    made = Issuer(key, issuer)
    return lambda request: {RECEIPT: made.receipt(request, clock())}


def asserts(key: SigningKey, issuer: str, clock: Callable[[], datetime]) -> Assert:
    """Return what tells a token endpoint for whom the broker asks."""
    return lambda caller, audience: asserted(key, issuer, caller, audience, clock())
