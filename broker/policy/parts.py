"""A condition taken apart as it is written: `a > 1 || !b` is two parts, `a > 1` has the part `a`. For people who ask why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from broker.domain.text import clipped, visible
from broker.policy.cel_text import Token, chains, tokens

_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_LEVELS = (("?",), ("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
_ROOTS = frozenset(("args", "caller", "client", "server", "tool", "env", "now", "consts", "counters", "lib"))
_DEEPEST = 6


class Part(msgspec.Struct, frozen=True):
    """A part of a condition, its value in words, and its own parts."""

    text: str
    value: str
    parts: tuple[Part, ...] = ()


def taken_apart(source: str, value_of: Callable[[str], str], depth: int = 0) -> Part:
    """Return a source with the values of its parts; `value_of` gives the value of a text, in words."""
    parts = tuple(taken_apart(text, value_of, depth + 1) for text in _below(source)) if depth < _DEEPEST else ()
    return Part(" ".join(source.split()), value_of(source), parts)


def _below(source: str) -> list[str]:
    """The parts of a source that have values of their own."""
    inner = _bare(source)
    found = list(tokens(inner))
    for operators in _LEVELS:
        split = _split(inner, found, operators)
        if len(split) > 1:
            return [text for text in split if not _literal(text)]
    if found and found[0].text == "!" and len(found) > 1:
        return [inner[found[1].start :]]
    names = [inner[chain.start : chain.end] for chain in chains(inner) if chain.names[0] in _ROOTS]
    return [name for name in dict.fromkeys(names) if name != inner]


def _bare(source: str) -> str:
    """The source without brackets around the whole of it."""
    text = source.strip()
    found = list(tokens(text))
    if len(found) > 2 and found[0].text == "(" and _closing(found, 0) == len(found) - 1:
        return _bare(text[found[0].end : found[-1].start])
    return text


def _closing(found: list[Token], at: int) -> int:
    """The index of the bracket that closes the one at `at`; the last index when none does."""
    depth = 0
    for index in range(at, len(found)):
        depth += (found[index].text in _OPEN) - (found[index].text in _CLOSE)
        if depth == 0:
            return index
    return len(found) - 1


def _split(source: str, found: list[Token], operators: tuple[str, ...]) -> list[str]:
    """The source cut at operators that stand in no bracket. `.?` is no operator, nor is a sign."""
    cuts, depth, start = [], 0, 0
    for before, token in zip([None, *found], found, strict=False):
        depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if depth or token.text not in (*operators, ":" if "?" in operators else "") or token.kind in ("string", "raw"):
            continue
        if before is None or before.text == "." or (before.kind == "mark" and before.text not in _CLOSE):
            continue
        cuts.append(source[start : token.start].strip())
        start = token.end
    return [*cuts, source[start:].strip()]


def _literal(text: str) -> bool:
    found = list(tokens(text))
    return len(found) == 1 and (found[0].kind != "name" or found[0].text in ("true", "false", "null"))


def worded(value: Any) -> str:
    """A value in words: JSON, cut to 120 characters."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.EncodeError):
        text = str(value)
    return clipped(visible(text[:240], keep=""), 120)
