from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.channels.web.arguments import COLOURED, Argument, Laid, Piece, lay_out, pieces
from broker.domain.redaction import shown
from broker.domain.text import visible

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def joined(found: tuple[Piece, ...]) -> str:
    return "".join(piece.text for piece in found)


def test_each_member_is_laid_out_by_its_kind() -> None:
    laid = lay_out({"n": 5, "text": "a", "flag": None, "empty": {}, "sql": "SELECT 1\nFROM t"}, (), "args")
    assert laid == Laid(
        (
            Argument((Piece("key", "n"),), (Piece("number", "5"),)),
            Argument((Piece("key", "text"),), (Piece("string", '"a"'),)),
            Argument((Piece("key", "flag"),), (Piece("word", "null"),)),
            Argument((Piece("key", "empty"),), (Piece("mark", "{}"),)),
            Argument(
                (Piece("key", "sql"),), (Piece("text", "SELECT 1\nFROM t"),), block=True, label="SQL, 2 lines, 15 characters"
            ),
        ),
        0,
    )


def test_the_unseen_is_marked_and_counted_in_names_too() -> None:
    laid = lay_out({"a\u200b": "x\u202e\u202ey"}, (), "args")
    assert laid.hidden == 3
    assert laid.rows[0].pieces == (Piece("string", '"x'), Piece("hidden", "\\u{202e}\\u{202e}"), Piece("string", 'y"'))


def test_what_spells_a_mark_out_is_not_marked() -> None:
    assert pieces("\\u{202e}") == (Piece("text", "\\u{202e}"),)


def test_what_is_covered_stands_out_and_what_only_says_so_does_not() -> None:
    found = shown({"card": {"pin": "4929"}, "note": "[redacted 4 characters]"}, ("$.args.card.*",), b"k" * 16)
    card, note = lay_out(found.arguments, found.masked, "args").rows
    assert [piece for piece in card.pieces if piece.kind == "cover"] == [Piece("cover", "[redacted 4 characters]")]
    assert [piece.kind for piece in note.pieces] == ["string"]


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON))
def test_every_character_that_would_run_is_shown(arguments: dict[str, Any]) -> None:
    for (name, value), row in zip(arguments.items(), lay_out(arguments, (), "args").rows, strict=True):
        assert joined(row.name) == visible(name)
        raw = row.block and isinstance(value, str)
        indent = 2 if isinstance(value, (dict, list)) and value else None
        expected = value if raw else json.dumps(value, indent=indent, ensure_ascii=False)
        empty = joined(row.pieces).replace("[\n\n]", "[]").replace("{\n\n}", "{}")
        assert empty == visible(expected)


def test_what_is_very_large_loses_its_colours_and_no_character() -> None:
    value = [[number] for number in range(COLOURED)]
    (row,) = lay_out({"list": value}, (), "args").rows
    assert len(row.pieces) == 1
    assert json.loads(joined(row.pieces)) == value
