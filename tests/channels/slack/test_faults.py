"""Slack fails in every way it knows: no card is lost, none stays unmanaged, nobody is asked twice, the web goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import msgspec
import pytest

from broker.channels.slack.places import Post, decode_post, encode_post
from broker.domain.requests import ApprovalRequest, RequestState
from broker.store.open import Store
from tests.channels.slack.bench import FAST, Bench, buttons, text
from tests.fakes.slack_faults import Fault
from tests.fakes.slack_front import BOT_USER


async def one_card(bench: Bench, request_id: str) -> dict[str, Any]:
    """Wait until exactly one card shows a request, and no answer is outstanding."""

    def look(cards: list[dict[str, Any]]) -> Any:
        own = [card for card in cards if request_id in text(card)]
        return own[0] if len(own) == 1 else None

    found: dict[str, Any] = await bench.seen(look)
    return found


async def test_a_lost_reply_makes_no_second_card_where_slack_tells_what_was_posted(bench: Bench) -> None:
    bench.slack.events = "http"
    bench.config = msgspec.structs.replace(bench.config, tempo=msgspec.structs.replace(FAST, retry=0.8))
    bench.slack.faults.append(Fault("chat.postMessage", "lost"))
    async with bench.running():
        request = await bench.parked()
        card = await one_card(bench, request.id)
        await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana")))
        await bench.reached(request, RequestState.COMPLETED)
        await bench.card(says="Approved and ran")
        assert len(await bench.slack.messages("refunds")) == 1
        posted = [fields for method, fields, _ in bench.slack.calls if method == "chat.postMessage" and "metadata" in fields]
        assert len(posted) == 1


async def test_a_second_card_after_a_lost_reply_is_taken_away_as_soon_as_it_is_known(bench: Bench) -> None:
    bench.slack.faults.append(Fault("chat.postMessage", "lost"))
    async with bench.running():
        request = await bench.parked()
        cards = await bench.seen(lambda cards: cards if len(cards) == 2 else None)
        orphan = cards[0]
        await bench.slack.interact(await bench.slack.click("refunds", orphan["ts"], "approve", await bench.slack.user("dana")))
        await bench.reached(request, RequestState.COMPLETED)
        card = await one_card(bench, request.id)
        assert card["ts"] == cards[1]["ts"]
        await bench.card(says="Approved and ran")


async def test_a_second_card_goes_when_slack_tells_late_what_was_posted(bench: Bench) -> None:
    bench.slack.faults.append(Fault("chat.postMessage", "lost"))
    async with bench.running():
        request = await bench.parked()
        orphan, kept = await bench.seen(lambda cards: cards if len(cards) == 2 else None)
        posted = next(fields for method, fields, _ in bench.slack.calls if method == "chat.postMessage")
        told = {
            "type": "message_metadata_posted", "app_id": "A0APPROVALS", "user_id": BOT_USER, "metadata": posted["metadata"],
            "channel_id": await bench.slack.channel("refunds"), "message_ts": orphan["ts"],
        }  # fmt: skip
        await bench.slack.event({**told, "user_id": "U0SOMEBODY"})
        await bench.slack.event({**told, "metadata": {**posted["metadata"], "event_type": "other"}})
        await bench.slack.event(told)
        assert (await one_card(bench, request.id))["ts"] == kept["ts"]
        assert bench.slack.counted()["chat.delete"] == 1


@pytest.mark.parametrize("kind", ["500", "html", "gone"])
async def test_a_card_comes_after_slack_failed_for_a_while(bench: Bench, kind: str) -> None:
    bench.slack.faults.append(Fault("chat.postMessage", kind, times=3))
    async with bench.running():
        request = await bench.parked()
        await one_card(bench, request.id)


async def test_slack_asking_to_wait_is_waited_for_exactly(bench: Bench) -> None:
    bench.slack.faults.append(Fault("chat.postMessage", "429", wait=1))
    async with bench.running():
        started = asyncio.get_running_loop().time()
        request = await bench.parked()
        await one_card(bench, request.id)
        assert asyncio.get_running_loop().time() - started >= 1.0
        assert bench.slack.counted()["chat.postMessage"] == 2


async def test_a_storm_of_waits_on_updates_ends_with_the_latest_state(bench: Bench) -> None:
    bench.policies.rules(count=2)
    async with bench.running():
        request = await bench.parked()
        await bench.card()
        bench.slack.faults.append(Fault("chat.update", "429", times=2, wait=1))
        await bench.review(request, "dana@example.com")
        await bench.review(request, "fay@example.com")
        await bench.card(says="Approved and ran")
        assert bench.slack.counted()["chat.update"] <= 5


async def test_slack_away_stops_nobody_on_the_web_and_what_ended_gets_no_card(bench: Bench) -> None:
    await slack_is_away(bench, count=40, seconds=0.5)


@pytest.mark.slow
async def test_ten_minutes_without_slack_and_two_hundred_requests(bench: Bench) -> None:
    await slack_is_away(bench, count=200, seconds=6.0)  # ten minutes at this bench's hundredfold pace


async def slack_is_away(bench: Bench, *, count: int, seconds: float) -> None:
    """A quarter is approved on the web meanwhile, a quarter runs out: those never get a card, the others do."""
    away = Fault("*", "gone", times=-1)
    bench.slack.faults.append(away)
    async with bench.running(), bench.janitor.running():
        since = anyio.current_time()
        bench.policies.rules(timeout="1s")
        expired = [await bench.parked(amount=amount) for amount in range(count // 4)]
        bench.policies.rules()
        decided = [await bench.parked(amount=amount) for amount in range(1_000, 1_000 + count // 4)]
        waiting = [await bench.parked(amount=amount) for amount in range(2_000, 2_000 + count // 2)]
        for request in decided:
            await bench.review(request, "fay@example.com")
        for request in decided:
            await bench.reached(request, RequestState.COMPLETED)
        for request in expired:
            await bench.reached(request, RequestState.EXPIRED)
        assert len(bench.ledger.rows) == count // 4
        await anyio.sleep(max(0.0, since + seconds - anyio.current_time()))
        await bench.slack.until(lambda: away.struck >= 3)
        away.left = 0
        with anyio.fail_after(60):
            for request in waiting:
                while not await shown(bench, request):
                    await bench.slack.next_call()
        assert not [request.id for request in (*decided, *expired) if await shown(bench, request)]
        said = " ".join(text(card) for card in await bench.slack.messages("refunds"))
        assert not [request.id for request in (*decided, *expired) if request.id in said]


async def shown(bench: Bench, request: ApprovalRequest) -> bool:
    """Does Slack hold a card of a request, or a digest with it?"""
    posts = bench.store.slack.posts
    post = decode_post((await posts.of(request.id)).get("#refunds", encode_post(Post())))
    at = decode_post((await posts.of(f"digest:{post.digest}")).get("here", encode_post(Post()))).ts if post.digest else post.ts
    return at in {message["ts"] for message in await bench.slack.messages("refunds")}


async def test_a_storm_of_waits_over_every_method_ends_with_every_card_at_its_latest_state(bench: Bench) -> None:
    storm = Fault("*", "429", times=25, wait=0)
    async with bench.running():
        first = await bench.parked()
        await one_card(bench, first.id)
        bench.slack.faults.append(storm)
        others = [await bench.parked(amount=amount) for amount in range(5)]
        await bench.review(first, "fay@example.com")
        for request in others:
            await one_card(bench, request.id)
        await bench.card(says="Approved and ran", at=0)
        assert storm.struck > 5
        assert len(await bench.slack.messages("refunds")) == 6


async def test_an_outage_is_not_hammered(bench: Bench) -> None:
    away = Fault("*", "gone", times=-1)
    bench.slack.faults.append(away)
    async with bench.running():
        for amount in range(30):
            await bench.parked(amount=amount)
        with anyio.move_on_after(2):
            await bench.slack.until(lambda: False)
        assert 3 <= away.struck <= 15


async def test_a_revoked_token_is_a_trouble_and_cards_come_when_it_is_mended(bench: Bench) -> None:
    revoked = Fault("chat.postMessage", "token_revoked", times=-1)
    bench.slack.faults.append(revoked)
    async with bench.running():
        assert bench.channel is not None
        request = await bench.parked()
        with anyio.fail_after(10):
            while not (troubles := await bench.channel.troubles()):
                await bench.slack.next_call()
        assert [(trouble.place, trouble.reason) for trouble in troubles] == [("the bot token", "token_revoked")]
        assert "install the app again" in troubles[0].mend
        revoked.left = 0
        await one_card(bench, request.id)
        with anyio.fail_after(10):
            while await bench.channel.troubles():
                await bench.slack.next_call()


async def test_a_card_that_slack_refuses_for_its_blocks_comes_bare(bench: Bench) -> None:
    bench.slack.faults.append(Fault("chat.postMessage", "invalid_blocks"))
    async with bench.running():
        await bench.parked()
        card = await bench.card()
        assert (text(card), buttons(card)) == ("Refund 40 to A-1 Open", ["open"])


async def test_a_deleted_card_of_an_open_request_is_posted_again_and_of_an_ended_one_is_not(bench: Bench) -> None:
    bench.policies.rules(count=2)
    async with bench.running():
        request = await bench.parked()
        first = await bench.card()
        place = await bench.slack.channel("refunds")
        assert (await bench.slack.call("chat.delete", channel=place, ts=first["ts"]))["ok"]
        await bench.review(request, "dana@example.com")
        second = await bench.card(says="1 of 2 from finance")
        assert second["ts"] != first["ts"]
        assert (await bench.slack.call("chat.delete", channel=place, ts=second["ts"]))["ok"]
        await bench.review(request, "fay@example.com")
        await bench.reached(request, RequestState.COMPLETED)
        other = await bench.parked(amount=41)
        await one_card(bench, other.id)
        assert len(await bench.slack.messages("refunds")) == 1


async def test_another_broker_takes_over_where_the_first_one_stopped(
    bench: Bench, open_another: Callable[[str], AbstractAsyncContextManager[Store]]
) -> None:
    async with open_another("broker-2") as store:
        second = Bench(store, bench.slack, bench.policies, bench.config, broker="broker-2", ledger=bench.ledger)
        async with second.running(serve=False):
            async with bench.running():
                first = await bench.parked()
                card = await one_card(bench, first.id)
                click = await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana"))
                await bench.slack.interact(click)
                await bench.reached(first, RequestState.COMPLETED)
            other = await second.parked(amount=41)
            await one_card(second, other.id)
            await second.card(says="Approved and ran", at=0)


async def test_a_view_that_opens_too_late_asks_for_another_press(bench: Bench) -> None:
    bench.slack.faults.append(Fault("views.open", "expired_trigger_id"))
    async with bench.running():
        await bench.parked()
        card = await bench.card()
        await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "details", await bench.slack.user("dana")))
        assert await bench.told() == "That took too long. Please press the button again."


async def test_an_answer_goes_to_slacks_own_host_and_nowhere_else(bench: Bench) -> None:
    dana = await bench.slack.user("dana")
    async with bench.running():
        await bench.parked()
        card = await bench.card()
        click = await bench.slack.click("refunds", card["ts"], "approve", dana)
        click["response_url"] = f"http://127.0.0.1:1/{bench.slack.answers}"
        await bench.slack.interact(click)
        said = [fields["text"] for method, fields, _ in await until_direct(bench, dana) if method == "chat.postMessage"]
        assert said == ["Approved: that was the last one needed."]
        assert bench.slack.answers_said == []


async def until_direct(bench: Bench, user: str) -> list[Any]:
    def found() -> list[Any]:
        return [call for call in bench.slack.calls if call[1].get("channel") == user]

    with anyio.fail_after(10):
        await bench.slack.until(found)
    return found()
