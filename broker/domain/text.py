"""Text that an agent wrote, made safe to look at: what is invisible becomes visible."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import msgspec

_in_one_line = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Drawn as nothing though their category is a letter, mark or symbol (Unicode: Default_Ignorable_Code_Point, and the
# empty Braille pattern). Variation selectors alone can carry any hidden message.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0").union(
    map(chr, range(0x180B, 0x1810)), map(chr, range(0xFE00, 0xFE10)), map(chr, range(0xE0100, 0xE01F0))
)


def visible(text: str, *, keep: str = "\n\t") -> str:
    """Return `text` with control, format, private, unassigned, separator and blank characters written as `\\u{202e}`.

    Nothing else changes: no normalisation, since that would show another text than the one that runs.
    """
    if _all_seen(text, keep):
        return text
    return text.translate({ord(char): f"\\u{{{ord(char):x}}}" for char in set(text) if _unseen(char, keep)})


def segments(text: str, *, keep: str = "\n\t") -> list[tuple[bool, str]]:
    """Return `visible(text)` in pieces, each with whether it stands for a character that can't be seen.

    A text that merely spells such a piece out is not marked: the two must look different wherever there is room for it.
    """
    if _all_seen(text, keep):
        return [(False, text)] if text else []
    pieces: list[tuple[bool, str]] = []
    for hidden, run in groupby(text, lambda char: _unseen(char, keep)):
        pieces.append((hidden, visible("".join(run), keep=keep)))
    return pieces


def unseen_in(text: str, *, keep: str = "\n\t") -> int:
    """Return how many characters of `text` can't be seen."""
    return 0 if _all_seen(text, keep) else sum(text.count(char) for char in set(text) if _unseen(char, keep))


def _all_seen(text: str, keep: str) -> bool:
    """Is there certainly nothing hidden? What Python calls printable holds no control, format or separator character."""
    for char in keep:
        text = text.replace(char, "")
    return text.isprintable() and (text.isascii() or _BLANK.isdisjoint(text))


def _unseen(char: str, keep: str) -> bool:
    return char not in keep and (unicodedata.category(char) in _HIDDEN or char in _BLANK)


def indented(value: Any) -> str:
    """Return JSON with a line for each value, as `json.dumps` with `indent=2` writes it, in a tenth of its time."""
    compact = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return msgspec.json.format(compact, indent=2).decode("utf-8", "surrogatepass")


def sentence(words: str) -> str:
    """Return words that begin small and end bare, as messages of errors do, as a sentence."""
    return f"{words[:1].upper()}{words[1:]}."


def clipped(text: str, limit: int) -> str:
    """Return `text`, or its first `limit - 1` characters and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def without(title: str, original: str) -> str:
    """Return a title with every place cut that begins like a covered value, for as long as it goes on like it."""
    head = original[:8]
    start = title.find(head) if len(head) >= 3 else -1
    while start >= 0:
        end = start + _alike(title[start:], original)
        title = f"{title[:start]}[redacted]{title[end:]}"
        start = title.find(head, start + len("[redacted]"))
    return title


def _alike(left: str, right: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(left), len(right)))


def in_one_line(value: Any) -> str:
    """Return JSON with sorted names; a mark where there is none."""
    if type(value) is int:
        return str(value)
    try:
        return _in_one_line(value)
    except (RecursionError, TypeError, ValueError):
        return "(no JSON form)"


def leaves(value: Any) -> list[str]:
    """Return the texts, names aside, and numbers inside a value, as a title would print them."""
    leaves, stack = [], [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack += item.values()
        elif isinstance(item, (list, tuple)):
            stack += item
        elif item is not None and not isinstance(item, bool):
            leaves.append(item if isinstance(item, str) else in_one_line(item))
    return leaves
