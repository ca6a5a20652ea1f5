"""Text that an agent wrote, made safe to look at: what is invisible becomes visible."""

from __future__ import annotations

import unicodedata

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


def clipped(text: str, limit: int) -> str:
    """Return `text`, or its first `limit - 1` characters and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
