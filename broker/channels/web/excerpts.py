"""Arguments too large for a page: heads and tails, with their lengths and digests, so that nobody's page and no broker stands
still over one call. The whole is a file beside it. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from broker.channels.web.arguments import Argument, Laid, Piece, lay_out, pieces
from broker.domain.text import clipped, indented, unseen_in

# Characters of JSON, line by line, that a page shows whole; beyond, as much is shared out among the members.
WHOLE = 100_000
# Unseen characters up to which each is an element of its own, shared out likewise: browsers stand still over many elements.
UNSEEN = 2_000
# Members of which something is shown: those at the head, and those at the tail.
HEAD, TAIL = 180, 20
NAME = 200


def too_large(values: Any) -> bool:
    """Has a page to leave something out?"""
    text = indented(values)
    return len(text) > WHOLE or unseen_in(text) > UNSEEN


def excerpt(values: Mapping[str, Any]) -> Laid:
    """Return the head and tail of each member, and of the members where there are many."""
    names, hidden = list(values), unseen_in(json.dumps(values, ensure_ascii=False))
    out = len(names) - HEAD - TAIL
    shown = names if out <= 0 else [*names[:HEAD], *names[-TAIL:]]
    room = WHOLE // len(shown)
    if hidden > UNSEEN:
        room = min(room, 2 * UNSEEN // len(shown))
    rows = [_row(name, values[name], room) for name in shown]
    if out > 0:
        rows.insert(HEAD, Argument((Piece("gap", f"{out:,} members are left out here"),), ()))
    return Laid(tuple(rows), hidden, cut=True)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return indented(value)


def _row(name: str, value: Any, room: int) -> Argument:
    text = _text(value)
    if len(name) <= NAME and len(text) <= room:
        return lay_out({name: value}, (), "args").rows[0]
    head, tail = room * 3 // 4, room // 4
    label = f"{len(text):,} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    shown_name = pieces(clipped(name, NAME), "key")
    if len(text) <= room:
        return Argument(shown_name, pieces(text), block=True, label=label)
    gap = Piece("gap", f"\n… {len(text) - head - tail:,} characters are left out here …\n")
    return Argument(shown_name, (*pieces(text[:head]), gap, *pieces(text[-tail:])), block=True, label=label)
