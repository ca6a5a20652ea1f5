"""The card in every state: what it says, what can be pressed, and that nothing which an agent wrote is parsed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from slack_sdk.models.blocks import Block as SlackBlock

from broker.channels.slack.card import bare_parts, card, outcome, view_of
from broker.channels.slack.face import Face, Pressed, pressed
from broker.channels.slack.home import digest, home, listing
from broker.channels.slack.modals import details, rejection
from broker.channels.slack.thread import replies
from broker.domain.decisions import Severity
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, Origin, RequestState
from broker.domain.reviews import Comment
from tests.channels.slack.samples import EVIL, FACE, KEY, NOON, a_request, a_review, evil, states

STATES = states()
TOKEN = "ghp_" + "a1B2" * 9


def pressable(request: ApprovalRequest, face: Face = FACE) -> list[str]:
    return [
        element["action_id"]
        for part in card(request, face).parts
        for element in part.get("elements", ())
        if "action_id" in element
    ]


def said(request: ApprovalRequest, face: Face = FACE) -> str:
    """Everything that a card shows, as one text."""
    return " ".join(leaf for leaf, _ in leaves(card(request, face).parts))


def leaves(value: Any, kind: str = "") -> Iterator[tuple[str, str]]:
    """Each text in blocks, with the type of the object that holds it."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str) and name in ("text", "fallback"):
                yield item, value["type"]
            else:
                yield from leaves(item, value.get("type", kind))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, kind)


FULL = ["approve", "reject", "details", "open"]


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        ("pending", FULL),
        ("one of two", FULL),
        ("redacted", FULL),
        ("escalated", FULL),
        ("critical", ["open"]),
        ("step up", ["open"]),
        ("too long", ["reject", "details", "open"]),
        ("secret", ["reject", "details", "open"]),
        ("evil", ["reject", "details", "open"]),
        *[(state, []) for state in ("approved", "executing", "completed", "failed", "unknown")],
        *[(state, []) for state in ("rejected", "expired", "cancelled", "voided")],
    ],
)
def test_what_can_be_pressed(state: str, buttons: list[str]) -> None:
    assert pressable(STATES[state]) == buttons
    assert card(STATES[state], FACE).approvable is ("approve" in buttons)


def test_every_state_has_a_card() -> None:
    assert {request.state for request in STATES.values()} == set(RequestState)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"plan_title": "x" * 151}, True),
        ({"plan_title": "x" * 150}, False),
        ({"arguments": {"customer": "c" * 301}}, True),
        ({"arguments": {"customer": "c" * 300}}, False),
        ({"arguments": {"x": "\u202e" * 400}}, True),
        ({"plan_show": tuple(f"args.a{n}" for n in range(11))}, True),
        ({"plan_type_to_confirm": "args.customer"}, True),
        ({"tool": "t" * 189}, False),
        ({"tool": "t" * 190}, True),
        ({"rest": {"task": {"ttl": 60_000}}}, False),
        ({"rest": {"task": "x" * 3_000}}, True),
    ],
)
def test_what_does_not_fit_whole_can_not_be_approved(changes: dict[str, Any], missing: bool) -> None:
    assert ("approve" not in pressable(a_request(**changes))) is missing


def test_without_pages_there_is_no_link_and_a_critical_request_has_no_buttons() -> None:
    bare = Face(KEY)
    assert pressable(STATES["pending"], bare) == ["approve", "reject", "details"]
    assert pressable(STATES["critical"], bare) == []


def test_the_card_says_who_what_why_and_how_long() -> None:
    words = said(STATES["one of two"])
    for part in (
        "Refund 9000 EUR to customer A-1",
        "HIGH",
        "payments → refund_create",
        "billing-bot",
        "toy 1.2, by its own account",
        "refund-large",
        "more than 5,000",
        "The agent says, unverified:",
        "the customer asked twice",
        "customer: ",
        '"note": "second complaint"',
        "1 of 2 from finance",
        "apr_0_0123456789abcdefghjkmnpqrs · digest 9f9f9f9f9f9f",
        "2026-11-24 14:00 UTC",
    ):
        assert part in words, part


def test_people_that_we_know_in_slack_are_mentioned_and_others_named() -> None:
    parts = json.dumps(card(STATES["completed"], FACE).parts)
    assert '"user_id": "U0DANA"' in parts
    assert "fay@example.com" in parts


def test_a_members_of_params_beside_the_arguments_is_shown() -> None:
    assert '"ttl": 60000' in said(a_request(rest={"task": {"ttl": 60_000}}))


def test_redaction_comes_before_the_card() -> None:
    words = said(STATES["redacted"]) + said(STATES["secret"])
    assert "[redacted 2 characters]" in words
    assert "[redacted 12 characters, fingerprint " in words
    assert "abcd1234abcd" not in words


def test_the_notification_carries_the_title_and_no_argument() -> None:
    assert card(STATES["pending"], FACE).text == "Approval needed: Refund 9000 EUR to customer A-1"
    assert card(STATES["expired"], FACE).text == "Expired: Refund 9000 EUR to customer A-1"
    assert card(a_request(plan_title="<!channel> & <@U1>"), FACE).text == "Approval needed: &lt;!channel&gt; &amp; &lt;@U1&gt;"


def test_a_reason_of_a_policy_or_upstream_is_no_decision_of_a_person() -> None:
    assert "by" not in said(a_request(RequestState.REJECTED, note="denied now")).split("Rejected")[1]


def test_the_same_look_has_the_same_mark_whatever_the_version() -> None:
    assert card(a_request(version=1), FACE).mark == card(a_request(version=7), FACE).mark
    assert card(a_request(), FACE).mark != card(a_request(reviews=(a_review("dana@example.com"),)), FACE).mark


def test_a_button_has_a_new_block_for_each_version() -> None:
    assert card(a_request(version=7), FACE).parts[-1]["block_id"].endswith(":7")


def view(request: ApprovalRequest) -> str:
    return view_of(request, shown_call(request.call, request.plan, KEY))


def test_a_view_binds_what_was_shown_and_demanded_and_not_how_far_it_is() -> None:
    assert view(a_request()) == view(a_request(version=5, reviews=(a_review("dana@example.com"),)))
    for changes in (
        {"arguments": {"amount": 1}},
        {"plan_title": "Other"},
        {"plan_asks": ()},
        {"policy": "sha256:new"},
        {"plan_redact": ("$.args.note",)},
        {"rest": {"task": 1}},
        {"origin": Origin(stated="another story")},
    ):
        assert view(a_request()) != view(a_request(**changes))  # type: ignore[arg-type]


def test_what_a_button_carries_comes_back() -> None:
    value = card(a_request(), FACE, "#ops").parts[-1]["elements"][0]["value"]
    request = a_request()
    assert pressed(value) == Pressed(request.id, request.digest, view(request), "#ops")
    assert [pressed(text) for text in ("", "x", "a b c", "a b c d e", " b c d")] == [None] * 5


def everything(request: ApprovalRequest) -> list[Any]:
    """Every set of blocks that a request can appear in."""
    said_later = [reply.parts for reply in replies(request, FACE, NOON, NOON)]
    values = Pressed(request.id, request.digest, "v")
    return [
        card(request, FACE).parts,
        bare_parts(request, FACE),
        outcome(request, FACE).parts,
        details(request, FACE)["blocks"],
        rejection(request, FACE, values)["blocks"],
        home([request], FACE)["blocks"],
        digest([request] * 40, FACE).parts,
        listing([request], FACE),
        *said_later,
    ]


def test_a_comment_is_said_once_in_the_thread_with_its_secrets_covered() -> None:
    comments = (Comment("dana@example.com", NOON, "web", "is it A-1?"), Comment("fay@example.com", NOON, "web", f"key {TOKEN}"))
    said = replies(a_request(comments=comments), FACE, NOON, NOON)
    assert [reply.key for reply in said] == ["comment:0", "comment:1"]
    told = " ".join(text for reply in said for text, _ in leaves(reply.parts))
    assert "wrote: " in told and "is it A-1?" in told
    assert TOKEN not in told


@pytest.mark.parametrize("state", STATES)
def test_slacks_own_models_accept_everything(state: str) -> None:
    for parts in everything(STATES[state]):
        parsed = SlackBlock.parse_all(parts)
        assert len(parsed) == len(parts)
        for block in parsed:
            block.validate_json()


def test_nothing_hostile_is_ever_parsed() -> None:
    for parts in everything(evil()):
        for text, kind in leaves(parts):
            if any(bad in text for bad in ("<!channel>", "evil.test", "APPROVED by bob", "\u202e")):
                assert kind in ("text", "plain_text"), (kind, text)
        serialized = json.dumps(parts)
        assert '"emoji": true' not in serialized
        assert "mrkdwn" not in serialized
        assert "\\u202e" not in serialized
        urls = [value for key, value in pairs(parts) if key == "url"]
        assert all(url.startswith("https://approvals.example.com/") for url in urls)
        mentions = {value for key, value in pairs(parts) if key in ("user_id", "usergroup_id")}
        assert mentions <= {"U0DANA", "U0ALICE", "S0FIN"}


def pairs(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name, item
            yield from pairs(item)
    elif isinstance(value, list):
        for item in value:
            yield from pairs(item)


def test_a_header_is_one_line() -> None:
    parts = card(a_request(plan_title=EVIL), FACE).parts
    assert "\n" not in parts[0]["text"]["text"]


def test_a_critical_request_is_not_approved_in_home_either() -> None:
    blocks = home([a_request(plan_severity=Severity.CRITICAL)], FACE)["blocks"]
    assert "approve" not in {value for key, value in pairs(blocks) if key == "action_id"}


def test_who_is_asked_reads_where_to_ask_about_the_server() -> None:
    face = msgspec.structs.replace(FACE, support={"payments": "slack:#payments-help"})
    assert "Questions about this server:  slack:#payments-help" in said(a_request(), face)
    assert "Questions about" not in said(a_request())
