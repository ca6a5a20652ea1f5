"""The question after a result, in Slack: who is asked, how often, and what an answer is worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.channels.slack.arrivals import Press, encode
from broker.domain.events import Noted
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict
from tests.channels.slack.bench import Bench, buttons, text

DAY = timedelta(days=1)
QUESTION = "How long would this have taken you by hand?"
ALICE = "alice@example.com"


async def ran(bench: Bench, amount: int = 40) -> ApprovalRequest:
    request = await bench.parked(amount=amount)
    await bench.card(says=f"Refund {amount} to A-1")
    await bench.review(request, "fay@example.com")
    return await bench.reached(request, RequestState.COMPLETED)


def asked(bench: Bench) -> list[str]:
    """To whom the question was posted, each time."""
    posts = [fields for method, fields, _ in bench.slack.calls if method == "chat.postMessage"]
    return [str(fields["channel"]) for fields in posts if QUESTION in str(fields.get("text"))]


async def opinions(bench: Bench) -> list[tuple[str, int | None, int]]:
    month = await bench.store.usage.month(f"{datetime.now(UTC):%Y-%m}")
    return [(one.tool, one.people_minutes, one.answers) for one in month.estimates]


async def test_whoever_a_call_ran_for_is_asked_once_a_day_and_tool_and_the_answer_counts(bench: Bench) -> None:
    bench.asks_about_results(DAY)
    alice = await bench.slack.user("alice")
    async with bench.running():
        request = await ran(bench)
        message = await bench.card("alice", says=QUESTION)
        assert "Refund 40 to A-1: it ran." in text(message)
        assert buttons(message) == [f"feedback:{one}" for one in (0, 5, 15, 30, 60, 240, "skip", "never")]
        for action, told in (
            ("feedback:15", "Thank you, counted: 15 min."),
            ("feedback:60", "Thank you, counted: 1 hour."),
            ("feedback:skip", "Skipped."),
            ("feedback:0", "Thank you, counted: It did not help."),
            ("feedback:never", "You are not asked any more. Your account page on the web turns it on again."),
        ):
            await bench.slack.interact(await bench.slack.click("alice", message["ts"], action, alice))
            assert await bench.told() == told
        assert await opinions(bench) == [("refund_create", 0, 1)]
        assert await bench.feedback.quiet(ALICE)
        await bench.feedback.hush(ALICE, False)
        await ran(bench, 41)
        await bench.store.slack.wanted.want(f"result:{request.id}")
        await bench.parked(amount=42)
        await bench.card(says="Refund 42")  # posted after everything that was wanted before
        assert asked(bench) == [alice]
    entries = [entry.event for entry in await bench.store.audit.read(0, 500)]
    given = [event for event in entries if isinstance(event, Noted) and event.what == "feedback.given"]
    assert [(event.who, event.fields["minutes"], event.fields["channel"]) for event in given] == [
        (ALICE, minutes, "slack") for minutes in ("15", "60", "skipped", "0")
    ]


async def test_nobody_is_asked_about_what_did_not_run_nor_after_opting_out(bench: Bench) -> None:
    bench.asks_about_results(DAY)
    async with bench.running():
        refused = await bench.parked(amount=50)
        await bench.card(says="Refund 50")
        await bench.review(refused, "fay@example.com", Verdict.REJECT, reason="no")
        await bench.card("alice", says="Nothing ran")
        await bench.feedback.hush(ALICE, True)
        await ran(bench, 51)
        await bench.card(says="Approved and ran")
        await bench.parked(amount=52)
        await bench.card(says="Refund 52")
    assert asked(bench) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("fay", "30 {id}", "There is no such request."),  # who approved it
        ("mallory", "30 {id}", "I can't tell who you are in the policies. Type `/approvals link` to connect this account."),
        ("alice", "481 {id}", "Minutes are a whole number from 0 to 480."),
        ("alice", "-5 {id}", "The button carries no answer."),
        ("alice", "30 apr_0_nothing", "There is no such request."),
        ("alice", "30", "The button carries no answer."),
    ],
)
async def test_an_answer_that_is_not_theirs_or_makes_no_sense_counts_nothing(
    bench: Bench, name: str, value: str, told: str
) -> None:  # fmt: skip
    async with bench.running():
        request = await ran(bench)
        user, url = await bench.slack.user(name), f"http://127.0.0.1:{bench.slack.port}/actions/x"
        press = Press("T000000001", user, "feedback:30", value.format(id=request.id), answer_url=url)
        await bench.store.slack.arrivals.put(encode(press))
        assert bench.channel is not None
        bench.channel.arrived()
        assert await bench.told() == told
        assert await opinions(bench) == []
