"""What can't be judged is refused before any rule sees it."""

from __future__ import annotations

from typing import Any

import pytest

from broker.policy.arguments import DEPTH, LEAST, MOST_BESIDE, SIZE, overfull, unfit


def nested(levels: int, *, lists: bool = False) -> Any:
    value: Any = [] if lists else {}
    for _ in range(levels - 1):
        value = [value] if lists else {"a": value}
    return value if not lists else {"a": value}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"a": None, "b": True, "c": 1, "d": 1.5, "e": "text", "f": [], "g": {}},
        {"a": 2**53 - 1, "b": -(2**53 - 1)},
        {"a": 1e308, "b": -0.0},
        {"a": "\U0001f600 \u202e \x00"},
        {"": ""},
        {"a": "x" * (SIZE - 100)},
        {"a": [""] * ((SIZE // LEAST) - 3)},
        {f"{number:04}": "" for number in range((SIZE // LEAST) // 2 - 1)},
        nested(DEPTH),
        nested(DEPTH - 1, lists=True),
    ],
)
def test_json_within_the_limits_can_be_judged(arguments: Any) -> None:
    assert unfit(arguments) == ""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (None, "arguments must be an object"),
        ([], "arguments must be an object"),
        ("{}", "arguments must be an object"),
        (1, "arguments must be an object"),
        ({"a": 2**53}, "a whole number is beyond 2^53 - 1"),
        ({"a": -(2**53)}, "a whole number is beyond 2^53 - 1"),
        ({"a": 2**70}, "a whole number is beyond 2^53 - 1"),
        ({"a": float("nan")}, "a number is not finite"),
        ({"a": [float("inf")]}, "a number is not finite"),
        ({"a": "\ud800"}, "a text holds half a surrogate pair"),
        ({"\udfff": 1}, "a text holds half a surrogate pair"),
        ({"a": b"bytes"}, "a value is no JSON"),
        ({"a": (1, 2)}, "a value is no JSON"),
        ({1: 2}, "a key is no text"),
        ({"a": "x" * (SIZE + 1)}, "the arguments are larger than 256 KiB"),
        ({"a": "ä" * (SIZE // 2 + 1)}, "the arguments are larger than 256 KiB"),
        ({"a": [0] * (SIZE // 8 + 1)}, "the arguments are larger than 256 KiB"),
        ({"a": [""] * (SIZE // LEAST)}, "the arguments are larger than 256 KiB"),
        ({"a": [[]] * (SIZE // LEAST)}, "the arguments are larger than 256 KiB"),
        ({f"{number:x}": "" for number in range((SIZE // LEAST) // 2 + 1)}, "the arguments are larger than 256 KiB"),
        ({"x" * SIZE: "x"}, "the arguments are larger than 256 KiB"),
        (nested(DEPTH + 1), "the arguments are nested deeper than 32 levels"),
        (nested(DEPTH, lists=True), "the arguments are nested deeper than 32 levels"),
        (nested(20_000), "the arguments are nested deeper than 32 levels"),
        (nested(20_000, lists=True), "the arguments are nested deeper than 32 levels"),
    ],
)
def test_everything_else_can_not(arguments: Any, why: str) -> None:
    assert unfit(arguments) == why


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"task": {"ttl": 60_000}},
        {"inputResponses": {"image": {"data": "x" * 700_000}}},
        {"x": "x" * SIZE},
        {"x": [0] * (MOST_BESIDE - 1)},
        {"x": {f"{number}": 0 for number in range(MOST_BESIDE // 2 - 1)}},
        nested(1_000),
    ],
)
def test_beside_the_arguments_there_is_room_for_what_mcp_has_there_and_answers_may_be_long(beside: dict[str, Any]) -> None:
    assert overfull({"name": "t", "arguments": {"a": [0] * 400_000}, **beside}) == ""


@pytest.mark.parametrize(
    "many",
    [[0] * MOST_BESIDE, [""] * MOST_BESIDE, [[0]] * (MOST_BESIDE // 2), {f"{number}": 0 for number in range(MOST_BESIDE // 2)}],
)
def test_beside_the_arguments_are_few_values(many: Any) -> None:
    assert overfull({"name": "t", "arguments": {}, "x": many}) == "there are more than 4,096 values beside the arguments"


@pytest.mark.parametrize("long", ["x" * (SIZE + 1), {"x" * SIZE: "x"}, ["x" * 1_000] * 263])
def test_beside_the_arguments_and_answers_are_no_long_texts(long: Any) -> None:
    told = "the texts beside the arguments are longer than 262,144 characters"
    assert overfull({"name": "t", "arguments": {}, "x": long}) == told
    assert overfull({"name": "t", "arguments": {}, "inputResponses": {"x": long}}) == ""
