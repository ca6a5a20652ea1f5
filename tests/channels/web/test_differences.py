from __future__ import annotations

from typing import Any

import pytest

from broker.channels.web.arguments import Piece
from broker.channels.web.differences import differences


def plain(before: Any, after: Any) -> list[tuple[str, str, str]]:
    def text(pieces: tuple[Piece, ...]) -> str:
        return "".join(piece.text for piece in pieces)

    return [(text(one.path), text(one.before), text(one.after)) for one in differences(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "1", "2")]),
        ({"a": 1}, {"a": 1.0}, [("a", "1", "1.0")]),
        ({"a": 1}, {"a": True}, [("a", "1", "true")]),
        ({"a": 1}, {}, [("a", "1", "")]),
        ({}, {"a": None}, [("a", "", "null")]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3, 4]}}, [("a.b[1]", "2", "3"), ("a.b[2]", "", "4")]),
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}, []),
        ({"a": [1]}, {"a": {"b": 1}}, [("a", "[1]", '{"b": 1}')]),
        ({"a": "x\u202e"}, {"a": "y"}, [("a", '"x\\u{202e}"', '"y"')]),
    ],
    ids=str,
)
def test_each_place_that_differs_is_told_with_its_path(before: Any, after: Any, expected: list[tuple[str, str, str]]) -> None:
    assert plain(before, after) == expected


def test_in_long_texts_the_words_that_differ_are_marked() -> None:
    before, after = (
        "UPDATE contacts SET opted_out = true WHERE region = 'EU'",
        "UPDATE contacts SET opted_out = true WHERE region = 'US'",
    )
    (found,) = differences({"sql": before}, {"sql": after})
    assert [piece.text for piece in found.before if piece.kind == "taken"] == ["EU"]
    assert [piece.text for piece in found.after if piece.kind == "added"] == ["US"]


def test_what_nobody_would_read_to_its_end_is_cut() -> None:
    assert len(differences({}, {str(number): number for number in range(1000)})) == 200
