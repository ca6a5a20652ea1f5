"""Is a message from Slack? Judged over the raw bytes, before anything is parsed (docs.slack.dev/authentication)."""

from __future__ import annotations

import hashlib
import hmac
import re

# Seconds that a signature is good for, in either direction.
WINDOW = 300
_DIGITS = re.compile(rb"[0-9]{1,12}")


def verified(secret: bytes, timestamp: bytes, signature: bytes, body: bytes, now: float) -> bool:
    """Does `signature` hold for these bytes, and is it fresh? Whatever is malformed is no signature; nothing is raised."""
    if not secret or not _DIGITS.fullmatch(timestamp) or abs(now - int(timestamp)) > WINDOW:
        return False
    return hmac.compare_digest(signed(secret, timestamp, body), signature)


def signed(secret: bytes, timestamp: bytes, body: bytes) -> bytes:
    """Return `v0=` and the hex HMAC-SHA256 of `v0:timestamp:body`."""
    return b"v0=" + hmac.new(secret, b"v0:" + timestamp + b":" + body, hashlib.sha256).hexdigest().encode()
