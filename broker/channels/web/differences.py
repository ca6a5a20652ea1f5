"""What differs between two calls, path by path: a changed comma of two texts of JSON would pair the wrong lines. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice, takewhile, zip_longest
from typing import Any

import msgspec

from broker.channels.web.arguments import Piece, pieces
from broker.domain.locations import Location
from broker.domain.text import clipped

LONG = 40
COMPARED = 4_000
SHOWN = 200
# Characters of all places together, and pairs of equal words among which the best are looked for: pages stay quick.
CHARACTERS = 20_000
PAIRS = 8_000
PATH = 400
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_NOTHING = object()


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
    """Return the places in which two redacted arguments differ, at most 200, in the order of the later one.

    Long texts show their head; in those with too many equal words, only what both begin and end with counts as the same.
    """
    page = _Page()
    return tuple(page.told(*found) for found in islice(_walk(before, after, ()), SHOWN))


def _walk(before: Any, after: Any, at: Location) -> Iterator[tuple[Location, Any, Any]]:
    """Each place that differs, with what is there before and after: `_NOTHING` where nothing is."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*after, *(name for name in before if name not in after)):
            yield from _pair(before.get(name, _NOTHING), after.get(name, _NOTHING), (*at, name))
    elif isinstance(before, list) and isinstance(after, list):
        for index, (one, other) in enumerate(zip_longest(before, after, fillvalue=_NOTHING)):
            yield from _pair(one, other, (*at, index))
    else:
        yield from _pair(before, after, at)


def _pair(before: Any, after: Any, at: Location) -> Iterable[tuple[Location, Any, Any]]:
    kind = type(before)
    if kind is type(after):
        if kind is dict or kind is list:
            return _walk(before, after, at)
        if before == after:
            return ()
    return ((at, before, after),)


class _Page:
    """What there is still room for."""

    def __init__(self) -> None:
        self._characters = CHARACTERS
        self._pairs = PAIRS

    def told(self, at: Location, before: Any, after: Any) -> Difference:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
        texts = isinstance(before, str) and isinstance(after, str) and LONG < max(len(before), len(after)) < COMPARED
        if texts and self._characters > 0:
            return Difference(_key(path), *self._words(before, after))
        return Difference(_key(path), self._text(before, "taken"), self._text(after, "added"))

    def _text(self, value: Any, kind: str) -> tuple[Piece, ...]:
        if value is _NOTHING:
            return ()
        text, room = json.dumps(value, ensure_ascii=False), max(LONG, self._characters)
        self._characters -= len(text)
        if len(text) <= room:
            return pieces(text, kind)
        return (*pieces(text[:room], kind), Piece("gap", f"{len(text) - room:,} characters are left out here"))

    def _words(self, before: str, after: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
        self._characters -= len(before) + len(after)
        old, new = _WORDS.findall(before), _WORDS.findall(after)
        taken: list[Piece] = []
        added: list[Piece] = []
        for what, i, j, k, m in self._steps(old, new):
            taken += pieces("".join(old[i:j]), "text" if what == "equal" else "taken")
            added += pieces("".join(new[k:m]), "text" if what == "equal" else "added")
        return tuple(taken), tuple(added)

    def _steps(self, old: list[str], new: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
        """How the words of one text become those of another: equal at head and tail, and what is alike between them."""
        head = _alike(old, new)
        tail = min(_alike(old[::-1], new[::-1]), len(old) - head, len(new) - head)
        i, j = len(old) - tail, len(new) - tail
        yield "equal", 0, head, 0, head
        for what, first, last, other, end in self._between(old[head:i], new[head:j]):
            yield what, head + first, head + last, head + other, head + end
        yield "equal", i, len(old), j, len(new)

    def _between(self, old: list[str], new: list[str]) -> Iterable[tuple[str, int, int, int, int]]:
        """The search weighs all pairs of equal words, so these are counted first: hostile texts have millions."""
        counts = Counter(new)
        pairs = sum(times * counts[word] for word, times in Counter(old).items() if not word.isspace())
        if pairs > self._pairs:
            return (("replace", 0, len(old), 0, len(new)),)
        self._pairs -= pairs
        return difflib.SequenceMatcher(str.isspace, old, new, autojunk=False).get_opcodes()


def _key(path: str) -> tuple[Piece, ...]:
    return pieces(clipped(path, PATH), "key")


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many words both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
