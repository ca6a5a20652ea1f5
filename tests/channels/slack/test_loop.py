"""The whole loop before an emulator that we did not write: a call is parked, its card appears, somebody presses, it runs."""

from __future__ import annotations

from broker.domain.requests import RequestState
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
        assert f"approvals:   {dana}" in text(after)
        said = await bench.thread(card, "It ran")
        assert f"{dana}  approved on slack" in said
        (review,) = done.reviews
        assert (review.reviewer, review.channel, review.view.split(" ")[1]) == (
            "dana@example.com",
            "slack",
            f"slack:T000000001:{dana}:directory",
        )
