"""Addresses of the web, as far as they can be judged without asking anybody."""

from __future__ import annotations

from urllib.parse import urlsplit


def confidential(url: str) -> bool:
    """Can nobody on the way read or change what this address tells? Over https, or on this very machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
