"""Text that an agent wrote: nothing in it stays invisible, and nothing else changes."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.text import clipped, indented, segments, visible

CASES = [
    ("plain text", "plain text"),
    ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ("\u202egnp.exe", "\\u{202e}gnp.exe"),
    ("a\u200bb\ufeffc", "a\\u{200b}b\\u{feff}c"),
    ("bell\x07 esc\x1b[2J \r", "bell\\u{7} esc\\u{1b}[2J \\u{d}"),
    ("line\u2028para\u2029", "line\\u{2028}para\\u{2029}"),
    ("tag\U000e0041", "tag\\u{e0041}"),
    ("selector\ufe01 \U000e0150", "selector\\u{fe01} \\u{e0150}"),
    ("filler\u3164\u115f\u2800", "filler\\u{3164}\\u{115f}\\u{2800}"),
    ("private\ue000 lone\ud800", "private\\u{e000} lone\\u{d800}"),
    ("é ß 日本 🎉 עברית", "é ß 日本 🎉 עברית"),
]


@pytest.mark.parametrize(("text", "seen"), CASES)
def test_what_is_invisible_becomes_visible(text: str, seen: str) -> None:
    assert visible(text) == seen
    assert "".join(piece for _, piece in segments(text)) == seen


def test_lines_can_be_made_visible_too() -> None:
    assert visible("a\nb", keep="") == "a\\u{a}b"


def test_a_text_that_spells_a_hidden_character_out_is_told_from_one_that_holds_it() -> None:
    assert segments("\u202ex") == [(True, "\\u{202e}"), (False, "x")]
    assert segments("\\u{202e}x") == [(False, "\\u{202e}x")]
    assert segments("") == []


@given(st.text())
def test_no_text_keeps_anything_unseen(text: str) -> None:
    seen = visible(text, keep="")
    assert not [char for char in seen if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
    assert visible(seen, keep="") == seen


@pytest.mark.parametrize(("text", "limit", "short"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 1, ""), ("ab", 1, "…")])
def test_long_text_is_clipped_and_says_so(text: str, limit: int, short: str) -> None:
    assert clipped(text, limit) == short


TEXTS = st.text(max_size=4) | st.sampled_from(["\ud800", '"', "\\", "[", "{,", "\u2028"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


@given(VALUES)
def test_a_value_is_written_line_by_line_as_pythons_own_json_writes_it(value: Any) -> None:
    assert indented(value) == json.dumps(value, ensure_ascii=False, indent=2)
