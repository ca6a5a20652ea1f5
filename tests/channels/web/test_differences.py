from __future__ import annotations

from typing import Any

import pytest

from broker.channels.web.arguments import Piece
from broker.channels.web.differences import CHARACTERS, LONG, PATH, differences
from tests.fakes.steps import steps


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


def test_in_a_text_with_too_many_equal_words_only_what_both_begin_and_end_with_is_the_same() -> None:
    before, after = (f"begin {middle} end" for middle in ("a " * 1_000 + "b", "b" + " a" * 1_000))
    (found,) = differences({"x": before}, {"x": after})
    assert [(piece.kind, piece.text) for piece in found.before] == [
        ("text", "begin "), ("taken", "a " * 1_000 + "b"), ("text", " end"),
    ]  # fmt: skip
    assert [(piece.kind, piece.text) for piece in found.after] == [
        ("text", "begin "), ("added", "b" + " a" * 1_000), ("text", " end"),
    ]  # fmt: skip


def test_one_word_in_the_midst_of_a_long_text_of_equal_words_is_still_marked() -> None:
    before, after = ("a " * 900 + middle + " a" * 900 for middle in ("this", "that"))
    (found,) = differences({"x": before}, {"x": after})
    assert [piece.text for piece in (*found.before, *found.after) if piece.kind != "text"] == ["this", "that"]


def test_what_differs_in_hundreds_of_long_places_is_shown_by_its_heads() -> None:
    places = {f"{number}": f"{number} " + "\u202e" * 5_000 for number in range(100)}
    found = differences({"x" * 50_000: dict.fromkeys(places, 1)}, {"x" * 50_000: places})
    assert len(found) == 100
    assert sum(len(one.path[0].text) for one in found) <= 100 * PATH
    assert sum(piece.kind == "hidden" for one in found for piece in one.after) <= len(found) * 2
    assert sum(len(piece.text) for one in found for piece in one.after) < 8 * (CHARACTERS + 100 * LONG) + 100 * 50
    assert all(one.after[-1].kind == "gap" for one in found[5:])


@pytest.mark.parametrize("hostile", ["a b ", ". ", "a", "{} "])
def test_the_steps_of_a_comparison_are_bounded_however_alike_the_words_are(hostile: str) -> None:
    before, after = [f"{hostile * 300}{number}"[-900:] for number in range(3)], [f"x{hostile * 300}y"[:900]] * 3
    assert steps(lambda: differences({"x": before}, {"x": after})) < 30_000
