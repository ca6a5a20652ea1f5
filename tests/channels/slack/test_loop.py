"""The whole loop before an emulator that we did not write: a call is parked, its card appears, somebody presses, it runs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from broker.channels.slack.arrivals import Press, encode
from broker.domain.requests import RequestState
from broker.domain.reviews import Verdict
from broker.errors import AlreadyResolved
from tests.channels.slack.bench import Bench, buttons, text


async def test_a_click_on_the_card_releases_the_call_and_the_card_and_thread_say_so(bench: Bench) -> None:
    async with bench.running():
        request = await bench.parked()
        card = await bench.card(says="Refund 40 to A-1")
        assert buttons(card) == ["approve", "reject", "details", "open"]
        dana = await bench.slack.user("dana")
        reply = await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "approve", dana))
        assert (reply.status, reply.text) == (200, "")
        assert reply.seconds < 3
        assert await bench.told() == "Approved: that was the last one needed."
        done = await bench.reached(request, RequestState.COMPLETED)
        assert bench.ledger.rows == [{"customer": "A-1", "amount": 40}]
        after = await bench.card(says="Approved and ran")
        assert (after["ts"], buttons(after)) == (card["ts"], [])
        assert f"approvals: {dana}" in text(after)
        said = await bench.thread(card, "It ran")
        assert f"{dana} approved on slack" in said
        (review,) = done.reviews
        assert (review.reviewer, review.channel) == ("dana@example.com", "slack")
        assert review.view.endswith(f" slack:T000000001:{dana}:directory")


async def test_a_rejection_asks_for_its_reason_and_the_agent_gets_it(bench: Bench) -> None:
    async with bench.running():
        request = await bench.parked()
        card = await bench.card()
        fay = await bench.slack.user("fay")
        await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "reject", fay))
        await bench.slack.until(lambda: bench.slack.modals)
        refused = await bench.slack.interact(bench.slack.submission(fay))
        assert '"response_action":"errors"' in refused.text
        await bench.slack.interact(bench.slack.submission(fay, preset="0", words="the order is A-2"))
        assert await bench.told() == "Rejected."
        done = await bench.reached(request, RequestState.REJECTED)
        assert done.note == "The arguments are wrong. the order is A-2"
        assert bench.ledger.rows == []
        await bench.card(says=f"Rejected by {fay}")
        assert "the order is A-2" in await bench.thread(card, "Nothing ran")


async def test_a_decision_on_the_web_rewrites_the_card_as_well(bench: Bench) -> None:
    bench.policies.rules(count=2)
    async with bench.running():
        request = await bench.parked()
        await bench.card(says="0 of 2 from finance")
        await bench.review(request, "fay@example.com", reason="fine by me")
        card = await bench.card(says="1 of 2 from finance")
        assert "approve" in buttons(card)
        assert "fine by me" in await bench.thread(card, "approved on web")
        await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana")))
        await bench.reached(request, RequestState.COMPLETED)
        await bench.card(says="Approved and ran")


async def test_one_person_counts_once(bench: Bench) -> None:
    bench.policies.rules(count=2)
    async with bench.running():
        request = await bench.parked()
        card = await bench.card()
        dana = await bench.slack.user("dana")
        for answer in (
            "Your approval counts: 1 of 2 from finance.",
            "Dana@example.com has reviewed this request: approve.",
        ):
            await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "approve", dana))
            assert await bench.told() == answer
        assert len((await bench.desk.look(request.id)).reviews) == 1


async def test_a_double_click_and_a_redelivery_are_one_review_and_one_execution(bench: Bench) -> None:
    async with bench.running():
        request = await bench.parked()
        card = await bench.card()
        dana = await bench.slack.user("dana")
        clicks = [await bench.slack.click("refunds", card["ts"], "approve", dana) for _ in range(2)]
        assert [(await bench.slack.interact(click)).status for click in clicks] == [200, 200]
        assert (await bench.slack.interact(clicks[0])).status in (200, 401)  # the same bytes in the same second are a replay
        assert "Approved: that was the last one needed." in {await bench.told(), await bench.told()}
        await bench.reached(request, RequestState.COMPLETED)
        assert len(bench.ledger.rows) == 1


async def test_everything_of_a_call_opens_in_a_modal(bench: Bench) -> None:
    async with bench.running():
        await bench.parked(script="echo hello\n" * 400)
        card = await bench.card(says="Not all of the call fits here")
        assert buttons(card) == ["reject", "details", "open"]
        await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "details", await bench.slack.user("dana")))
        await bench.slack.until(lambda: bench.slack.modals)
        runs = [part for block in bench.slack.modals[-1][1]["blocks"] for part in block.get("elements", ()) if "elements" in part]
        held = "".join(one["text"] for part in runs if part["type"] == "rich_text_preformatted" for one in part["elements"])
        assert json.loads(held)["script"] == "echo hello\n" * 400


@pytest.mark.parametrize("more", ["step_up: true"])
async def test_what_needs_a_passkey_is_only_opened(bench: Bench, more: str) -> None:
    bench.policies.rules(more=f", {more}")
    async with bench.running():
        await bench.parked()
        assert buttons(await bench.card()) == ["open"]


async def test_a_forged_press_on_what_may_not_be_approved_here_does_nothing(bench: Bench) -> None:
    async with bench.running():
        small = await bench.parked()
        click = await bench.slack.click("refunds", (await bench.card())["ts"], "approve", await bench.slack.user("dana"))
        bench.policies.rules(severity="critical")
        critical = await bench.parked(amount=41)
        card = await bench.card(says="Refund 41")
        with pytest.raises(LookupError):
            await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana"))
        old = click["actions"][0]["value"]
        click["actions"][0]["value"] = old.replace(small.id, critical.id).replace(small.digest, critical.digest)
        await bench.slack.interact(click)
        assert "has changed since" in await bench.told()
        assert (await bench.desk.look(critical.id)).reviews == ()


async def test_a_button_of_an_older_revision_is_refused_once_more_is_asked(bench: Bench) -> None:
    async with bench.running():
        request = await bench.parked()
        card = await bench.card()
        click = await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana"))
        bench.policies.rules(count=2)
        await bench.review(request, "fay@example.com")
        await bench.card(says="1 of 2 from finance")  # the release found that the policy asks for more by now
        await bench.slack.interact(click)
        assert "has changed since" in await bench.told()
        assert (await bench.desk.look(request.id)).state is RequestState.PENDING


async def test_approve_in_slack_and_reject_on_the_web_at_the_same_moment_have_one_winner(bench: Bench) -> None:
    async with bench.running():
        for _ in range(5):
            request = await bench.parked(amount=1 + len(bench.ledger.rows) + len(bench.slack.calls))
            card = await bench.card(says=request.id)
            click = await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana"))
            await bench.slack.interact(click)
            try:
                await bench.review(request, "fay@example.com", Verdict.REJECT, reason="no")
                winner, says = RequestState.REJECTED, "Rejected by"
            except AlreadyResolved:
                winner, says = RequestState.COMPLETED, "Approved and ran"
            await bench.reached(request, winner)
            after = await bench.card(says=says)
            assert (after["ts"], buttons(after)) == (card["ts"], [])
            await bench.told()


async def test_expiry_and_void_rewrite_the_card(bench: Bench) -> None:
    bench.policies.rules(timeout="1s")
    async with bench.running(), bench.janitor.running():
        request = await bench.parked()
        card = await bench.card()
        assert (await bench.reached(request, RequestState.EXPIRED)).note == "nobody decided in time"
        assert buttons(await bench.card(says="Expired")) == []
        await bench.thread(card, "Nothing ran")
        bench.policies.rules()
        other = await bench.parked(amount=7)
        await bench.card(says="Refund 7")
        bench.tools.raw["description"] = "Does something else now."
        await bench.review(other, "fay@example.com")
        await bench.reached(other, RequestState.VOIDED)
        await bench.card(says="Void")


async def test_a_broker_that_died_between_acknowledgement_and_work_loses_nothing(bench: Bench) -> None:
    async with bench.running():
        request = await bench.parked()
        card = await bench.card()
        click = await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana"))
    value, user = click["actions"][0]["value"], click["user"]["id"]
    press = Press("T000000001", user, "approve", value, click["container"]["channel_id"], card["ts"], click["response_url"])
    await bench.store.slack.arrivals.put(encode(press))
    assert await bench.store.slack.arrivals.take(10) != []  # held by a broker that does nothing any more
    bench.store.slack.arrivals._takeover = timedelta(milliseconds=1)
    async with bench.running():
        await bench.reached(request, RequestState.COMPLETED)
        await bench.card(says="Approved and ran")
