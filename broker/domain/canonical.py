"""Canonical JSON (RFC 8785): one text for one value, so that a digest binds the value and not its spelling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import rfc8785

_MOST = 2**53 - 1
_WITHOUT_EXPONENT = 1e15
_SPELLED_ALIKE = frozenset((str, bool, type(None)))
_INTEGERS = frozenset((int,))
_SORTED = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """Return the canonical form. Raises `rfc8785.CanonicalizationError`, `RecursionError` or `UnicodeError` if it has none."""
    if _plain(value):
        return _SORTED.encode(value)
    alike = _integral(value)
    return _SORTED.encode(alike) if _plain(alike) else rfc8785.dumps(value)


def _integral(value: Any) -> Any:
    """A copy in which floats without a fraction are integers: the canonical form is the same."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) <= _MOST else value
    if kind is dict:
        return {name: _integral(item) for name, item in value.items()}
    return [_integral(item) for item in value] if kind is list else value


def _plain(value: Any) -> bool:
    """Is its sorted JSON the canonical form as well? Then it is had in a tenth of the time.

    Not so where floats are in it that both write otherwise, or names beyond U+D7FF, whose order is that of UTF-16.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-_MOST <= value <= _MOST)
    if kind is dict:
        return _ordered(value) and _plain_values(value.values())
    if kind is float:
        return 1e-5 <= abs(value) < _WITHOUT_EXPONENT and not value.is_integer()
    return kind is list and _plain_items(value)


def _plain_values(values: Iterable[Any]) -> bool:
    for value in values:  # noqa: SIM110 - most are texts, and asking each of them costs more than looking
        if type(value) is not str and not _plain(value):
            return False
    return True


def _plain_items(items: list[Any]) -> bool:
    """Lists are asked for the kinds of their items first: one of a million numbers is done with in one pass."""
    kinds = set(map(type, items))
    if kinds <= _SPELLED_ALIKE:
        return True
    if kinds == _INTEGERS:
        return bool(min(items) >= -_MOST and max(items) <= _MOST)
    return all(map(_plain, items))


def _ordered(names: Iterable[Any]) -> bool:
    """Is their order by code points that of UTF-16 as well?"""
    try:
        joined = "".join(names)
    except TypeError:  # one is no text
        return False
    return joined.isascii() or max(joined) < "\ud800"
