"""What differs between two calls, path by path: a changed comma of two texts of JSON would pair the wrong lines. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from broker.channels.web.arguments import Piece, pieces
from broker.domain.locations import Location

LONG = 40
COMPARED = 4_000
SHOWN = 200


class Difference(msgspec.Struct, frozen=True):
    """One place. `before` is empty for what was added, `after` for what was taken away."""

    path: tuple[Piece, ...]
    before: tuple[Piece, ...]
    after: tuple[Piece, ...]


class Compared(msgspec.Struct, frozen=True):
    """What differs from the last approved call."""

    request: str
    at: datetime
    differences: tuple[Difference, ...]


def differences(before: Any, after: Any) -> tuple[Difference, ...]:
    """Return the places in which two redacted arguments differ, at most 200, in the order of the later one."""
    found = []
    for difference in _walk(before, after, ()):
        found.append(difference)
        if len(found) == SHOWN:
            break
    return tuple(found)


def _walk(before: Any, after: Any, at: Location) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*after, *(name for name in before if name not in after)):
            yield from _pair(before, after, name, at)
    elif isinstance(before, list) and isinstance(after, list):
        here, there = dict(enumerate(before)), dict(enumerate(after))
        for index in range(max(len(before), len(after))):
            yield from _pair(here, there, index, at)
    elif type(before) is not type(after) or before != after:
        yield _changed(before, after, at)


def _pair(before: dict[Any, Any], after: dict[Any, Any], name: str | int, at: Location) -> Iterator[Difference]:
    where = (*at, name)
    if name not in before:
        yield Difference(_path(where), (), _text(after[name], "added"))
    elif name not in after:
        yield Difference(_path(where), _text(before[name], "taken"), ())
    else:
        yield from _walk(before[name], after[name], where)


def _changed(before: Any, after: Any, at: Location) -> Difference:
    if isinstance(before, str) and isinstance(after, str) and LONG < max(len(before), len(after)) < COMPARED:
        return _words(before, after, at)
    return Difference(_path(at), _text(before, "taken"), _text(after, "added"))


def _words(before: str, after: str, at: Location) -> Difference:
    old, new = re.findall(r"\s+|\w+|[^\w\s]", before), re.findall(r"\s+|\w+|[^\w\s]", after)
    taken: list[Piece] = []
    added: list[Piece] = []
    for what, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        taken += pieces("".join(old[i:j]), "text" if what == "equal" else "taken")
        added += pieces("".join(new[k:m]), "text" if what == "equal" else "added")
    return Difference(_path(at), tuple(taken), tuple(added))


def _text(value: Any, kind: str) -> tuple[Piece, ...]:
    return pieces(json.dumps(value, ensure_ascii=False), kind)


def _path(at: Location) -> tuple[Piece, ...]:
    return pieces("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip("."), "key")
