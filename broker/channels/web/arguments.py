"""Arguments laid out for the eye: every character that would run is there, and what is hidden is made visible.

Pure. What comes in is already redacted (`domain.redaction`); what goes out are pieces of text, each with its kind, which
the templates only wrap. Nothing here is markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import msgspec

from broker.domain.locations import Location, path_of
from broker.domain.redaction import Masked
from broker.domain.text import indented, segments

# Characters from which on a text gets a block of its own, values beyond which a structure loses its colours: pages stay quick.
INLINE = 96
COLOURED = 4_000

_SQL = frozenset(("select", "insert", "update", "delete", "create", "alter", "drop", "with", "truncate", "merge", "grant"))
_SHELL_NAMES = frozenset(("command", "cmd", "shell", "script", "bash"))


class Piece(msgspec.Struct, frozen=True):
    """A run of text. `kind`: text, key, string, number, word, mark, hidden (stands for unseen characters), cover (redacted)
    or gap (says what is left out)."""

    kind: str
    text: str


class Argument(msgspec.Struct, frozen=True):
    """One member. `block`: it needs a block of its own; `label` says what the block holds."""

    name: tuple[Piece, ...]
    pieces: tuple[Piece, ...]
    block: bool = False
    label: str = ""


class Laid(msgspec.Struct, frozen=True):
    """All members, and how many unseen characters are among them. `cut`: only heads and tails are here."""

    rows: tuple[Argument, ...]
    hidden: int
    cut: bool = False


def lay_out(values: Mapping[str, Any], masked: Sequence[Masked], root: str) -> Laid:
    """Return the members of `values` in their own order. `root` is `args` or `rest`, where `masked` paths begin."""
    covers = _Covers(masked)
    rows = tuple(_argument(name, value, (root, name), covers) for name, value in values.items())
    hidden = (piece.text for row in rows for piece in (*row.name, *row.pieces) if piece.kind == "hidden")
    return Laid(rows, sum(text.count("\\u{") for text in hidden))


def pieces(text: str, kind: str = "text") -> tuple[Piece, ...]:
    """Return any text in pieces: what is unseen stands out as its code points."""
    return tuple(Piece("hidden" if unseen else kind, part) for unseen, part in segments(text))


class _Covers:
    """The texts that stand for something covered, by place."""

    def __init__(self, masked: Sequence[Masked]) -> None:
        self._texts: dict[str, list[str]] = {}
        for item in masked:
            self._texts.setdefault(item.path, []).append(item.text)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def split(self, text: str, at: Location, kind: str) -> Iterator[Piece]:
        """Cut a text at what covers stand in it, in their order."""
        for cover in self._texts.get(path_of(at), ()) if self._texts else ():
            before, found, rest = text.partition(cover)
            if found:
                yield from pieces(before, kind)
                yield Piece("cover", cover)
                text = rest
        yield from pieces(text, kind)


def _argument(name: str, value: Any, at: Location, covers: _Covers) -> Argument:
    shown_name = pieces(name, "key")
    if isinstance(value, str) and (len(value) > INLINE or "\n" in value):
        return Argument(shown_name, tuple(covers.split(value, at, "text")), block=True, label=_label(name, value))
    if isinstance(value, (dict, list)) and value:
        counted = f"{len(value)} {'members' if isinstance(value, dict) else 'items'}" if len(value) != 1 else ""
        return Argument(shown_name, _structure(value, at, covers), block=True, label=counted)
    return Argument(shown_name, tuple(_tokens(value, at, covers, 0)))


def _label(name: str, text: str) -> str:
    lines, first = text.count("\n") + 1, text.split(None, 1)[:1]
    if first and first[0].lower() in _SQL:
        what = "SQL"
    else:
        what = "shell" if name.lower() in _SHELL_NAMES or text.startswith("#!") else "text"
    return f"{what}, {lines} lines, {len(text):,} characters" if lines > 1 else f"{what}, {len(text):,} characters"


def _structure(value: Any, at: Location, covers: _Covers) -> tuple[Piece, ...]:
    tokens = _tokens(value, at, covers, 0)
    if not _many(value):
        return tuple(_merged(tokens))
    if not covers:
        return pieces(indented(value))
    return tuple(_merged(piece if piece.kind in ("hidden", "cover") else Piece("text", piece.text) for piece in tokens))


def _many(value: Any) -> bool:
    """Are there more than `COLOURED` values? Counted level by level, and no further than that."""
    level, count = [value], 1
    while level and count <= COLOURED:
        inside = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = list(islice(chain.from_iterable(inside), COLOURED + 1))
        count += len(level)
    return count > COLOURED


def _merged(tokens: Iterable[Piece]) -> Iterator[Piece]:
    held: list[str] = []
    kind = ""
    for token in tokens:
        if token.kind != kind and held:
            yield Piece(kind, "".join(held))
            held = []
        kind = token.kind
        held.append(token.text)
    if held:
        yield Piece(kind, "".join(held))


def _tokens(value: Any, at: Location, covers: _Covers, depth: int) -> Iterator[Piece]:
    match value:
        case dict() if value:
            yield from _members(value, at, covers, depth)
        case list() if value:
            yield from _items(value, at, covers, depth)
        case str():
            yield from covers.split(json.dumps(value, ensure_ascii=False), at, "string")
        case bool() | None:
            yield Piece("word", json.dumps(value))
        case int() | float():
            yield Piece("number", json.dumps(value))
        case _:
            yield Piece("mark", "{}" if isinstance(value, dict) else "[]")


def _members(value: dict[str, Any], at: Location, covers: _Covers, depth: int) -> Iterator[Piece]:
    indent = "  " * (depth + 1)
    yield Piece("mark", "{\n")
    for index, (name, item) in enumerate(value.items()):
        yield Piece("mark", indent if index == 0 else f",\n{indent}")
        yield from pieces(json.dumps(name, ensure_ascii=False), "key")
        yield Piece("mark", ": ")
        yield from _tokens(item, (*at, name), covers, depth + 1)
    yield Piece("mark", "\n" + "  " * depth + "}")


def _items(value: list[Any], at: Location, covers: _Covers, depth: int) -> Iterator[Piece]:
    indent = "  " * (depth + 1)
    yield Piece("mark", "[\n")
    for index, item in enumerate(value):
        yield Piece("mark", indent if index == 0 else f",\n{indent}")
        yield from _tokens(item, (*at, index), covers, depth + 1)
    yield Piece("mark", "\n" + "  " * depth + "]")
