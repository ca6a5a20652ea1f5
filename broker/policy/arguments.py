"""The first question: can this call be judged, and laid out for people, at all? Deep data would crash the engine, odd numbers
would be lost, and over a million tiny members the broker would stand still for everybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from broker.domain.rounds import ANSWERS

DEPTH = 32
SIZE = 256 << 10
# The least that a value or a name counts, however short: laying one out costs more than its letters.
LEAST = 8
# Values and names in what a call brings beside its arguments: MCP has few there.
MOST_BESIDE = 4_096
_MOST = 2**53 - 1
# Members up to which looking at all of them at once costs less than level by level.
_FEW = 64
_TEXTS = frozenset((str,))
_TOO_LARGE = f"the arguments are larger than {SIZE >> 10} KiB"


def unfit(arguments: Any) -> str:
    """Return why the arguments can't be judged, empty when they can: an object of JSON values within the limits.

    Depth counts the object itself; size is that of the texts in UTF-8, names among them, and at least 8 bytes for each value.
    """
    if not isinstance(arguments, dict):
        return "arguments must be an object"
    return "" if _few_texts(arguments) else _unfit(arguments)


def _unfit(arguments: dict[Any, Any]) -> str:
    """Look at them level by level."""
    size, depth = 0, 0
    level: list[Any] = [arguments]
    while level:
        depth += 1
        if size + LEAST * len(level) > SIZE:
            return _TOO_LARGE
        below: list[Any] = []
        for value in level:
            weight = _weighed(value, below)
            if isinstance(weight, str):
                return weight
            size += weight
        if size > SIZE:
            return _TOO_LARGE
        if depth > DEPTH and any(isinstance(value, (dict, list)) for value in level):
            return f"the arguments are nested deeper than {DEPTH} levels"
        level = below
    return ""


def _few_texts(arguments: dict[Any, Any]) -> bool:
    """Are they as most are: few, and plain texts?"""
    if len(arguments) > _FEW or not _TEXTS.issuperset(map(type, (*arguments, *arguments.values()))):
        return False
    joined = "".join((*arguments, *arguments.values()))
    return len(joined) < SIZE >> 1 and joined.isascii()


def overfull(params: Mapping[str, Any]) -> str:
    """Return why what a call brings beside name and arguments is too much to lay out, empty when it is not.

    `params` are all members of MCP's `params` but `_meta`. Only answers to a server's questions may be long, as pictures are.
    """
    level: list[Any] = [value for name, value in params.items() if name not in ("name", "arguments")]
    count = size = 0
    while level:
        count += len(level)
        if count > MOST_BESIDE:
            return f"there are more than {MOST_BESIDE:,} values beside the arguments"
        size += sum(len(value) for value in level if isinstance(value, str))
        if size > SIZE and ANSWERS not in params:
            return f"the texts beside the arguments are longer than {SIZE:,} characters"
        level = [inner for value in level if isinstance(value, dict | list) for inner in _inside(value)]
    return ""


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return (*value, *value.values()) if isinstance(value, dict) else value


def _weighed(value: Any, below: list[Any]) -> int | str:
    """The size of one value without its children, which go to `below`; or what is wrong with it."""
    match value:
        case str():
            return max(LEAST, len(value)) if value.isascii() else _utf8(value)
        case bool() | None:
            return LEAST
        case int():
            return LEAST if -_MOST <= value <= _MOST else "a whole number is beyond 2^53 - 1"
        case float():
            return LEAST if math.isfinite(value) else "a number is not finite"
        case dict() if set(map(type, value)) <= _TEXTS:
            below.extend(value)
            below.extend(value.values())
            return LEAST
        case list():
            below.extend(value)
            return LEAST
        case _:
            return "a key is no text" if isinstance(value, dict) else "a value is no JSON"


def _utf8(text: str) -> int | str:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return "a text holds half a surrogate pair"
