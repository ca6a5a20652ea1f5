"""Titles: one line for people, whatever an agent sends."""

from __future__ import annotations

from typing import Any

import pytest

from broker.policy.titles import bad_holes, rendered

NAMES = {"caller.user": "alice@example.com", "tool.name": "refund", "server.name": "payments"}


@pytest.mark.parametrize(
    ("title", "arguments", "text"),
    [
        ("Refund {args.amount} {args.currency}", {"amount": 40, "currency": "EUR"}, "Refund 40 EUR"),
        ("{server.name}/{tool.name} by {caller.user}", {}, "payments/refund by alice@example.com"),
        ("To {args.to}", {}, "To (none)"),
        ("To {args.to}", {"to": None}, "To (none)"),
        ("To {args.to.name}", {"to": "x"}, "To (none)"),
        ("To {args.to.name}", {"to": {"name": "Bob"}}, "To Bob"),
        ("To {args.to}", {"to": ["a", "b"]}, 'To ["a","b"]'),
        ("To {args.to}", {"to": True}, "To true"),
        ("To {args.to}", {"to": "{args.secret}", "secret": "x"}, "To {args.secret}"),
        ("To {args.to}", {"to": "x" * 80}, "To " + "x" * 80),
        ("To {args.to}", {"to": "x" * 81}, "To " + "x" * 79 + "…"),
        ("To {args.to}", {"to": "a\nb\u202e\x00"}, "To a\\u{a}b\\u{202e}\\u{0}"),
        ("To {args.to}", {"to": "\u202e" * 200_000}, "To " + ("\\u{202e}" * 10)[:79] + "…"),
        ("To {args.a-b}", {"a-b": 1.5}, "To 1.5"),
    ],
)
def test_a_title_is_filled_in_made_visible_and_clipped(title: str, arguments: Any, text: str) -> None:
    assert rendered(title, NAMES, arguments) == text


@pytest.mark.parametrize(
    ("title", "bad"),
    [
        ("plain", []),
        ("{args.x} {caller.user}", []),
        ("{args}", ["args"]),
        ("{x}", ["x"]),
        ("{args.x", ["{"]),
        ("args.x}", ["{"]),
        ("{{args.x}}", ["{"]),
        ("{caller.groups}", ["caller.groups"]),
        ("{args.x[0]}", ["args.x[0]"]),
        ("{}", [""]),
    ],
)
def test_what_can_not_be_filled_in_is_named(title: str, bad: list[str]) -> None:
    assert bad_holes(title) == bad
