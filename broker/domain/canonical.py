"""Canonical JSON (RFC 8785): one text for one value, so that a digest binds the value and not its spelling."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Any

import rfc8785

_MOST = 2**53 - 1


class _NotPlain(Exception):
    """The value holds something whose canonical form takes more than Python's own texts."""


def canonical(value: Any) -> bytes:
    """Return the canonical form. Raises `rfc8785.CanonicalizationError`, `RecursionError` or `UnicodeError` if it has none."""
    try:
        return _plain(value).encode()
    except _NotPlain:
        return rfc8785.dumps(value)


def _plain(value: Any) -> str:
    """Most values need none of the library's care, and it takes ten times as long. Floats do, and names beyond ASCII, whose
    order is that of UTF-16.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict:
        if not all(type(name) is str and name.isascii() for name in value):
            raise _NotPlain
        return "{" + ",".join([f"{encode_basestring(name)}:{_plain(value[name])}" for name in sorted(value)]) + "}"
    if kind is list:
        return "[" + ",".join([_plain(item) for item in value]) + "]"
    if kind is int and -_MOST <= value <= _MOST:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    raise _NotPlain
