"""Differences between two definitions of a tool, as a person reads them."""

from __future__ import annotations

from typing import Any

import pytest

from broker.registry.drift import Difference, differences, summary

BEFORE = {
    "name": "refund_create",
    "description": "Pays money back.",
    "inputSchema": {
        "type": "object",
        "properties": {"amount": {"type": "integer", "maximum": 500}, "reason": {"type": "string"}},
        "required": ["amount", "reason"],
    },
    "annotations": {"destructiveHint": True},
    "_meta": {"version": 1},
}


def changed(**members: Any) -> dict[str, Any]:
    return {**BEFORE, **members}


def schema(**members: Any) -> dict[str, Any]:
    return {"inputSchema": {**BEFORE["inputSchema"], **members}}  # type: ignore[dict-item]  # it is the schema above


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (changed(), []),
        (changed(_meta={"version": 2}), []),
        (changed(description="Pays."), ["description: Pays money back. → Pays."]),
        (changed(title="Refund"), ["title: new, Refund"]),
        (changed(annotations={}), ["claim destructiveHint: gone, it was true"]),
        (changed(annotations={"destructiveHint": False}), ["claim destructiveHint: true → false"]),
        (
            changed(**schema(properties={"amount": {"type": "number", "maximum": 500}, "reason": {"type": "string"}})),
            ["argument amount, type: integer → number"],
        ),
        (
            changed(**schema(properties={"amount": {"type": "integer"}, "reason": {"type": "string"}, "note": {}})),
            ["argument amount, maximum: gone, it was 500", 'argument note: new, {}'],
        ),
        (changed(**schema(required=["amount"])), ["argument reason: required → optional"]),
        (changed(**schema(required=["reason", "amount"])), ['arguments, required: ["amount","reason"] → ["reason","amount"]']),
        (changed(**schema(additionalProperties=False)), ["arguments, additionalProperties: new, false"]),
        (changed(outputSchema={"properties": {"id": {"type": "string"}}}), [
            'result: new, {"properties":{"id":{"type":"string"}}}']),
        (changed(vendor={"x": 1}), ['vendor: new, {"x":1}']),
        (changed(annotations={"destructiveHint": 1}), ["claim destructiveHint: true → 1"]),
        (changed(description="Pays.\u202e\u200b"), ["description: Pays money back. → Pays.\\u{202e}\\u{200b}"]),
        (changed(description="One line\nand another"), ["description:\n  - Pays money back.\n  + One line\n    and another"]),
    ],
)  # fmt: skip
def test_a_change_is_told_in_words(after: dict[str, Any], told: list[str]) -> None:
    assert [str(difference) for difference in differences(BEFORE, after)] == told


def test_what_people_read_comes_first() -> None:
    after = changed(description="Other", annotations={}, vendor=1, **schema(required=[]))
    assert [difference.what for difference in differences(BEFORE, after)] == [
        "description",
        "claim destructiveHint",
        "argument amount",
        "argument reason",
        "vendor",
    ]


def test_a_long_value_is_clipped_and_a_number_that_only_looks_alike_is_a_change() -> None:
    (long,) = differences(BEFORE, changed(description="x" * 5_000))
    assert long.after is not None
    assert (len(long.after), long.after[-1]) == (2_000, "…")
    assert differences({"x": {"a": 1}}, {"x": {"a": True}}) == (Difference("x.a", "1", "true"),)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), ""),
        (("description",), "description"),
        (("a", "a", "b"), "a, b"),
        (("a", "b", "c", "d", "e"), "a, b, c and 2 more"),
    ],
)
def test_a_summary_names_the_first_few(names: tuple[str, ...], told: str) -> None:
    assert summary(tuple(Difference(name, "x", "y") for name in names)) == told
