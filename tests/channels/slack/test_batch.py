"""What one agent proposed together, decided in one form in Slack: each call by itself, and none that the form did not show."""

from __future__ import annotations

import json
from typing import Any

import anyio
import msgspec
import pytest
from slack_sdk.models.blocks import Block as SlackBlock

from broker.channels.slack.batch import BATCH, batch_form, choices, choices_of
from broker.channels.slack.face import Pressed
from broker.domain.calls import Caller
from broker.domain.decisions import Severity
from broker.domain.events import Reviewed
from broker.domain.outcomes import Refused
from broker.domain.requests import ApprovalRequest, Origin, RequestId, RequestState
from tests.channels.slack.bench import ALICE, Bench, buttons, text
from tests.channels.slack.samples import EVIL, FACE, a_request, states
from tests.channels.slack.test_card import leaves, pairs
from tests.fakes.slack_front import APP, TEAM

WHERE = Pressed(RequestId("apr_0_x"))


def form(*requests: ApprovalRequest, person: str = "dana@example.com") -> dict[str, Any]:
    return batch_form(requests, FACE, person, WHERE)


def offered(view: dict[str, Any]) -> dict[str, str]:
    """The block of each request that can be decided in a form, by its id."""
    named = (part["block_id"] for part in view["blocks"] if part["type"] == "input" and part["block_id"] != "words")
    return {block.split(" ")[0]: block for block in named}


def cards_each(bench: Bench, count: int) -> None:
    """Let so many cards of one agent's batch come before they fold, however long that takes."""
    tempo = msgspec.structs.replace(bench.config.tempo, together=count, crowd_window=60.0)
    bench.config = msgspec.structs.replace(bench.config, tempo=tempo)


async def opened(bench: Bench, user: str, says: str = "requests wait") -> dict[str, Any]:
    """Press the button of the latest digest, and return the form that opens."""
    digest = await bench.card(says=says)
    known = len(bench.slack.modals)
    await bench.slack.interact(await bench.slack.click("refunds", digest["ts"], "together0", user))
    with anyio.fail_after(10):
        await bench.slack.until(lambda: len(bench.slack.modals) > known)
    view: dict[str, Any] = bench.slack.modals[-1][1]
    return view


async def sent(bench: Bench, user: str, view: dict[str, Any], verdicts: dict[str, str], words: str = "") -> str:
    """Submit a form with these verdicts by block; the others are left. Returns the reply's body."""
    left = dict.fromkeys(offered(view).values(), "leave") | verdicts
    values: dict[str, Any] = {
        block: {"verdict": {"type": "radio_buttons", "selected_option": {"value": verdict}}} for block, verdict in left.items()
    }
    values["words"] = {"words": {"type": "plain_text_input", "value": words or None}}
    payload = {
        "type": "view_submission", "user": {"id": user, "team_id": TEAM}, "team": {"id": TEAM, "domain": "acme"},
        "api_app_id": APP, "view": {**view, "callback_id": BATCH, "state": {"values": values}},
    }  # fmt: skip
    return (await bench.slack.interact(payload)).text


async def answered(bench: Bench) -> str:
    """Everything of the next answer that one person alone sees."""
    with anyio.fail_after(10):
        told = await bench.slack.until(lambda: bench.slack.answers_said and bench.slack.answers_said.pop(0))
    return text(told)


async def test_ten_are_decided_in_one_form_and_the_eleventh_waits(bench: Bench) -> None:
    cards_each(bench, 3)
    async with bench.running():
        requests = [await bench.parked(amount=amount) for amount in range(10)]
        dana = await bench.slack.user("dana")
        view = await opened(bench, dana, "7 of 7 requests wait")
        late = await bench.parked(amount=99)
        blocks = offered(view)
        assert list(blocks) == [request.id for request in requests]
        refused = {requests[index].id for index in (2, 5, 8)}
        verdicts = {block: "reject" if request in refused else "approve" for request, block in blocks.items()}
        assert "Say why some are rejected" in await sent(bench, dana, view, verdicts)
        assert await sent(bench, dana, view, verdicts, "not these three") == ""
        told = await answered(bench)
        assert (told.count(" approved"), told.count(" rejected"), "not counted" in told) == (7, 3, False)
        for request in requests:
            await bench.reached(request, RequestState.REJECTED if request.id in refused else RequestState.COMPLETED)
        amounts = sorted(row["amount"] for row in bench.ledger.rows)
        assert amounts == [amount for amount, request in enumerate(requests) if request.id not in refused]
        outcomes = [await bench.desk.outcome(request.id, ALICE, within=1) for request in requests]
        errors = [one for one in outcomes if isinstance(one, Refused)]
        assert (len(errors), all("not these three" in str(error) for error in errors)) == (3, True)
        facts = [entry.event for entry in await bench.store.audit.read(0, 200) if isinstance(entry.event, Reviewed)]
        assert [(fact.request, fact.channel) for fact in facts] == [(request, "slack") for request in blocks]
        assert (len({fact.batch for fact in facts}), bool(facts[0].batch), len({fact.view for fact in facts})) == (1, True, 10)
        assert (await bench.desk.look(late.id)).state is RequestState.PENDING
        await bench.card(says="1 of 8 requests wait")


async def test_each_item_that_can_not_be_decided_says_why_and_a_second_sending_counts_nothing(bench: Bench) -> None:
    cards_each(bench, 1)
    async with bench.running(release=False):
        requests = [await bench.parked(amount=amount) for amount in range(4)]
        foreign = await bench.parked(caller=Caller(agent="mail-bot"), amount=77)
        dana = await bench.slack.user("dana")
        view = await opened(bench, dana, "3 of 3 requests wait")
        await bench.review(requests[0], "fay@example.com")
        blocks = offered(view)
        moved = blocks[requests[1].id].rpartition(" ")[0] + " 7"
        smuggled = blocks[requests[3].id].replace(requests[3].id, foreign.id)
        unknown = blocks[requests[3].id].replace(requests[3].id, "apr_0_" + "0" * 26)
        verdicts = dict.fromkeys((blocks[requests[0].id], moved, smuggled, unknown, blocks[requests[2].id]), "approve")
        await sent(bench, dana, view, {**verdicts, blocks[requests[1].id]: "leave"})
        told = await answered(bench)
        for words in ("already approved by fay@example.com", "has changed since it was shown", "Refund 2 to A-1: approved"):
            assert words in told
        assert (told.count("there is no such request"), "Refund 77" in told) == (2, False)
        await sent(bench, dana, view, {blocks[requests[2].id]: "approve"})
        assert "not counted: the request is already approved" in await answered(bench)
        found = [await bench.desk.look(request.id) for request in (*requests, foreign)]
        assert [(one.state.value, len(one.reviews)) for one in found] == [
            ("approved", 1), ("pending", 0), ("approved", 1), ("pending", 0), ("pending", 0),
        ]  # fmt: skip


async def test_a_requester_and_an_outsider_decide_nothing(bench: Bench) -> None:
    cards_each(bench, 1)
    async with bench.running(release=False):
        requests = [await bench.parked(amount=amount) for amount in range(3)]
        dana, alice = await bench.slack.user("dana"), await bench.slack.user("alice")
        view = await opened(bench, dana, "2 of 2 requests wait")
        own = await opened(bench, alice, "2 of 2 requests wait")
        assert (offered(own), bool(own.get("submit")), "You asked for it: somebody else decides." in text(own)) == (
            {},
            False,
            True,
        )
        await sent(bench, alice, view, dict.fromkeys(offered(view).values(), "approve"))
        assert (await answered(bench)).count("not counted: you asked for this call") == 3
        mallory = await bench.slack.user("mallory")
        digest = await bench.card(says="2 of 2 requests wait")
        await bench.slack.interact(await bench.slack.click("refunds", digest["ts"], "together0", mallory))
        assert "approved" not in await answered(bench)
        assert [(await bench.desk.look(one.id)).state for one in requests] == [RequestState.PENDING] * 3


@pytest.mark.parametrize("more", ["step_up: true", "type_to_confirm: args.amount"])
async def test_what_is_decided_alone_is_refused_though_a_form_is_forged(bench: Bench, more: str) -> None:
    cards_each(bench, 1)
    bench.policies.rules(more=f", {more}")
    async with bench.running(release=False):
        requests = [await bench.parked(amount=amount) for amount in range(3)]
        dana = await bench.slack.user("dana")
        view = await opened(bench, dana, "2 of 2 requests wait")
        assert (offered(view), "It is decided alone, on its page." in text(view)) == ({}, True)
        view["private_metadata"] = f"{Pressed(requests[0].id).value}\nhttp://127.0.0.1:{bench.slack.port}/actions/forged"
        forged = {f"{one.id} {one.digest} 0 {one.version}": "approve" for one in requests}
        await sent(bench, dana, view, forged)
        assert (await answered(bench)).count("not counted") == 3
        assert [(await bench.desk.look(one.id)).state for one in requests] == [RequestState.PENDING] * 3


def test_only_what_is_shown_whole_can_be_chosen() -> None:
    offers = {name: bool(offered(form(request))) for name, request in states().items() if request.state is RequestState.PENDING}
    assert offers == {
        "pending": True, "one of two": True, "escalated": True, "redacted": True, "critical": False, "step up": False,
        "too long": False, "secret": False, "evil": False,
    }  # fmt: skip
    assert offered(form(a_request(plan_severity=Severity.CRITICAL))) == {}


def test_a_form_keeps_slacks_limits_and_says_what_does_not_fit() -> None:
    many = [a_request(id=RequestId(f"apr_0_{n:026}"), arguments={"script": f"{n} " + "é" * 1_200}) for n in range(60)]
    view = form(*many)
    assert len(view["blocks"]) <= 100
    assert len(json.dumps(view)) < 250_000
    held = len(offered(view))
    assert 0 < held <= 50
    assert f"{60 - held} more do not fit here" in text(view)
    for block in SlackBlock.parse_all(view["blocks"]):
        block.validate_json()
    short = form(*(msgspec.structs.replace(one, call=a_request().call) for one in many))
    assert (len(short["blocks"]), len(offered(short))) == (98, 48)


def test_nothing_hostile_in_a_form_is_parsed() -> None:
    evil = EVIL[:60]
    fitting = a_request(
        arguments={"customer": evil, "amount": 1}, plan_title=f"Refund {evil}", caller_agent=EVIL,
        origin=Origin(stated=EVIL, batch=evil),
    )  # fmt: skip
    view = form(fitting)
    for said, kind in leaves(view["blocks"]):
        if any(bad in said for bad in ("<!channel>", "evil.test", "APPROVED by bob")):
            assert kind in ("text", "plain_text"), (kind, said)
    assert "mrkdwn" not in json.dumps(view)
    assert "The agent calls this batch, unverified: " in text(view)
    assert all(value.startswith("https://approvals.example.com/") for key, value in pairs(view) if key == "url")


def test_what_a_form_says_is_read_strictly() -> None:
    told = choices_of({
        "r1 sha256:1 v 3": {"verdict": {"selected_option": {"value": "approve"}}},
        "r2 sha256:2 v x": {"verdict": {"selected_option": {"value": "reject"}}},
        "r3 sha256:3 v 0": {"verdict": {"selected_option": {"value": "approve"}}},
        "r4 sha256:4 v 1": {"verdict": {"selected_option": {"value": "leave"}}},
        "r5": {"verdict": {"selected_option": {"value": "approve"}}},
        "r6 sha256:6 v 1": {"verdict": {"selected_option": None}},
        "words": {"words": {"value": "no"}},
    })  # fmt: skip
    assert [(one.request, one.digest, one.version, one.verdict.value) for one in choices(told)] == [
        ("r1", "sha256:1", 3, "approve"), ("r2", "sha256:2", -1, "reject"), ("r3", "sha256:3", -1, "approve"),
    ]  # fmt: skip


async def test_another_agents_calls_are_another_batch_with_cards_of_their_own(bench: Bench) -> None:
    cards_each(bench, 3)
    async with bench.running(release=False):
        for amount in range(5):
            await bench.parked(amount=amount)
        await bench.card(says="2 of 2 requests wait")
        await bench.parked(caller=Caller(agent="mail-bot"), amount=7)
        card = await bench.card(says="Refund 7 to A-1")
        assert buttons(card) == ["approve", "reject", "details", "open"]
