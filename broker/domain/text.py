"""Text that an agent wrote, made safe to look at: what is invisible becomes visible."""

from __future__ import annotations

import unicodedata
from itertools import groupby

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def visible(text: str, *, keep: str = "\n\t") -> str:
    """Return `text` with control, format, private, unassigned and separator characters written as `\\u{202e}`.

    Nothing else changes: no normalisation, since that would show another text than the one that runs.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in keep or unicodedata.category(char) not in _HIDDEN else f"\\u{{{ord(char):x}}}" for char in text
    )


def segments(text: str, *, keep: str = "\n\t") -> list[tuple[bool, str]]:
    """Return `visible(text)` in pieces, each with whether it stands for a character that can't be seen.

    A text that merely spells such a piece out is not marked: the two must look different wherever there is room for it.
    """
    if text.isascii() and text.isprintable():
        return [(False, text)] if text else []
    pieces: list[tuple[bool, str]] = []
    for hidden, run in groupby(text, lambda char: char not in keep and unicodedata.category(char) in _HIDDEN):
        pieces.append((hidden, visible("".join(run), keep=keep)))
    return pieces


def clipped(text: str, limit: int) -> str:
    """Return `text`, or its first `limit - 1` characters and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
