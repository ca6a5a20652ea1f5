"""Canonical JSON (RFC 8785): one text for one value, so that a digest binds the value and not its spelling."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec
import rfc8785

_MOST = 2**53 - 1
_SPELLED_ALIKE = frozenset((str, bool, type(None)))
_INTEGERS = frozenset((int,))
_SORTED = msgspec.json.Encoder(order="sorted")
_IN_ORDER = msgspec.json.Encoder()


def canonical(value: Any) -> bytes:
    """Return the canonical form. Raises `rfc8785.CanonicalizationError`, `RecursionError` or `UnicodeError` if it has none."""
    if _plain(value):
        return _SORTED.encode(value)
    try:
        return _IN_ORDER.encode(_spelled(value))
    except _FormlessError:
        return rfc8785.dumps(value)


class _FormlessError(Exception):
    """Something is in a value that has no canonical form, or may have none: the reference says which and why."""


def _spelled(value: Any) -> Any:
    """A copy with its names in the order of RFC 8785 (section 3.2.3, that of UTF-16), and its floats written as there."""
    kind = type(value)
    if kind is float and isfinite(value):
        return int(value) if value.is_integer() and abs(value) <= _MOST else msgspec.Raw(_number(value).encode())
    if kind is list:
        return [_spelled(item) for item in value]
    if kind is dict and all(isinstance(name, str) for name in value):
        return {name: _spelled(value[name]) for name in sorted(value, key=_utf16)}
    if _plain(value):
        return value
    raise _FormlessError


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _number(value: float) -> str:
    """A float as ECMAScript writes it (RFC 8785, section 3.2.2.3): Python has the same digits, and moves the point elsewhere."""
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return "0" if value == 0 else mantissa.removesuffix(".0")
    place = int(exponent)
    if not -7 < place < 21:
        return f"{mantissa}e{place:+d}"
    sign, digits = "-" if value < 0 else "", mantissa.lstrip("-").replace(".", "")
    return sign + ("0." + "0" * (-place - 1) + digits if place < 0 else digits.ljust(place + 1, "0"))


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
        return (1e-5 <= abs(value) < 1e15 and not value.is_integer()) or 0 < abs(value) < 1e-6
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
