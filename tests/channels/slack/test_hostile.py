"""Random hostile documents: the card always keeps Slack's limits, and no agent text leaves rich text and plain text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block as SlackBlock

from broker.channels.slack.card import card
from broker.channels.slack.modals import BYTES, details
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, Origin
from broker.domain.text import visible
from tests.channels.slack.samples import EVIL, FACE, a_request
from tests.channels.slack.test_card import leaves, pairs
from tests.fakes.steps import steps

BAIT = [
    "<!channel>",
    "<!everyone>",
    "<@U0DANA>",
    "```",
    "`",
    "*",
    "\n" * 50,
    "<https://evil.test|Open>",
    "\u202e",
    "\x00",
    ":boom:",
    EVIL,
]
SIZES = st.one_of(st.integers(0, 400), st.sampled_from([2_500, 2_600, 2_700] * 5 + [20_000, 100_000]))
FLOOD = st.builds(lambda part, size: (part * size)[:size], st.sampled_from(["\n", "x", "é", "\U0001f389", "<!here> "]), SIZES)
TEXT = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(BAIT), max_size=8).map("".join), FLOOD)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=15,
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=6)


@settings(max_examples=250, deadline=None)
@given(arguments=DOCUMENTS, title=TEXT, stated=TEXT)
def test_the_card_stays_within_slacks_limits_and_parses_nothing(arguments: dict[str, Any], title: str, stated: str) -> None:
    keeps_every_promise(arguments, title, stated)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=2_000, deadline=None)
@given(arguments=DOCUMENTS, title=TEXT, stated=TEXT)
def test_two_thousand_cards_stay_within_slacks_limits(arguments: dict[str, Any], title: str, stated: str) -> None:
    keeps_every_promise(arguments, title, stated)


def keeps_every_promise(arguments: dict[str, Any], title: str, stated: str) -> None:
    origin = Origin(stated=stated)
    request = a_request(arguments=arguments, plan_title=title, plan_show=("args.*",), origin=origin)
    made = card(request, FACE)
    for block in SlackBlock.parse_all(made.parts):
        block.validate_json()
    within_limits(made.parts)
    held = [text for text, kind in leaves(made.parts) if kind not in ("text", "plain_text")]
    assert {text for text in held if text} <= {"2026-11-24 14:00 UTC"}
    mentions = {value for key, value in pairs(made.parts) if key in ("user_id", "usergroup_id", "channel_id", "range")}
    assert mentions <= {"U0DANA", "U0ALICE", "S0FIN"}
    if made.approvable:
        shown = shown_call(request.call, request.plan, FACE.key)
        nothing_is_cut(request, shown.title, [text for text, _ in leaves(made.parts)])
    assert made.approvable == ("approve" in {value for key, value in pairs(made.parts) if key == "action_id"})


def nothing_is_cut(request: ApprovalRequest, title: str, said: list[str]) -> None:
    """Everything that runs stands on the card, letter by letter, and so does the title; nothing of it is covered."""
    held = request.call.params["arguments"]
    assert visible(json.dumps(held, ensure_ascii=False, indent=2)) in said
    assert (visible(title, keep="") or " ") in said
    assert "payments → refund_create" in said


def within_limits(parts: list[dict[str, Any]]) -> None:
    """The limits that Slack documents (docs.slack.dev/reference/block-kit/blocks), and 40,000 characters for a message."""
    assert len(parts) <= 50
    for key, value in pairs(parts):
        if key in ("block_id", "action_id"):
            assert 0 < len(value) <= 255
        if key == "value":
            assert len(value) <= 2_000
        if key == "text" and isinstance(value, str):
            assert 1 <= len(value) <= 3_000
    assert len(parts[0]["text"]["text"]) <= 150
    assert sum(len(text) for text, _ in leaves(parts)) < 13_000


@settings(max_examples=40, deadline=None)
@given(arguments=DOCUMENTS)
def test_the_details_stay_within_slacks_limits(arguments: dict[str, Any]) -> None:
    view = details(a_request(arguments=arguments), FACE)
    assert len(view["blocks"]) <= 100
    assert len(json.dumps(view)) < BYTES + 60_000
    for block in SlackBlock.parse_all(view["blocks"]):
        block.validate_json()


def test_the_details_of_a_great_call_say_that_the_rest_is_on_its_page() -> None:
    words = json.dumps(details(a_request(arguments={"x": "\u202e" * 100_000}), FACE))
    assert len(words) < 250_000
    assert "The rest does not fit in Slack: open its page." in words
    assert "does not fit" not in json.dumps(details(a_request(arguments={"x": "y" * 100_000}), FACE))


@pytest.mark.parametrize("arguments", [{"a": [1] * 32_000}, {"a": [{"b": ""}] * 10_000}, {"a": [[[[[[]]]]]] * 5_000}])
def test_a_card_and_its_modal_take_no_step_more_for_each_member_of_a_call(arguments: dict[str, Any]) -> None:
    request = a_request(arguments=arguments)
    redacting = steps(lambda: shown_call(request.call, request.plan, FACE.key, reasons=request.reasons))
    for made in (card, details):
        assert steps(lambda made=made: made(request, FACE)) < redacting + 3_000  # type: ignore[misc]  # mypy infers no lambda's default
