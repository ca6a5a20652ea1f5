"""Canonical JSON (RFC 8785): one text for one value, so that a digest binds the value and not its spelling."""

from __future__ import annotations

from typing import Any

import msgspec
import rfc8785

_MOST = 2**53 - 1
_SORTED = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """Return the canonical form. Raises `rfc8785.CanonicalizationError`, `RecursionError` or `UnicodeError` if it has none."""
    return _SORTED.encode(value) if _plain(value) else rfc8785.dumps(value)


def _plain(value: Any) -> bool:
    """Is its sorted JSON the canonical form as well? Then it is had in a tenth of the time.

    Not so where floats are in it, or names beyond ASCII, whose order is that of UTF-16.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-_MOST <= value <= _MOST)
    if kind is dict:
        return all(map(_ascii, value)) and all(map(_plain, value.values()))
    return kind is list and all(map(_plain, value))


def _ascii(name: Any) -> bool:
    return isinstance(name, str) and name.isascii()
