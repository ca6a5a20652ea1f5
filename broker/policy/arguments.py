"""The first question: can these arguments be judged at all? Deep data would crash the engine, odd numbers would be lost."""

from __future__ import annotations

import math
from typing import Any

DEPTH = 32
SIZE = 256 << 10
_MOST = 2**53 - 1


def unfit(arguments: Any) -> str:
    """Return why the arguments can't be judged, empty when they can: an object of JSON values within the limits.

    Depth counts the object itself; size is that of the texts in UTF-8, and 8 bytes for everything else.
    """
    if not isinstance(arguments, dict):
        return "arguments must be an object"
    size, depth, level = 0, 0, [arguments]
    while level:
        depth += 1
        below: list[Any] = []
        for value in level:
            weight = _weighed(value, below)
            if isinstance(weight, str):
                return weight
            size += weight
        if size > SIZE:
            return f"the arguments are larger than {SIZE >> 10} KiB"
        if depth > DEPTH and any(isinstance(value, (dict, list)) for value in level):
            return f"the arguments are nested deeper than {DEPTH} levels"
        level = below
    return ""


def _weighed(value: Any, below: list[Any]) -> int | str:
    """The size of one value without its children, which go to `below`; or what is wrong with it."""
    match value:
        case str():
            return len(value) if value.isascii() else _utf8(value)
        case bool() | None:
            return 8
        case int():
            return 8 if -_MOST <= value <= _MOST else "a whole number is beyond 2^53 - 1"
        case float():
            return 8 if math.isfinite(value) else "a number is not finite"
        case dict() if all(isinstance(name, str) for name in value):
            below.extend(value)
            below.extend(value.values())
            return 8
        case list():
            below.extend(value)
            return 8
        case _:
            return "a key is no text" if isinstance(value, dict) else "a value is no JSON"


def _utf8(text: str) -> int | str:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return "a text holds half a surrogate pair"
