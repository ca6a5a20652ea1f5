"""Many requests at once: none without a card or a line in a digest, no limit of Slack broken, order kept."""

from __future__ import annotations

import re
from itertools import cycle

import anyio
import msgspec
import pytest

from broker.channels.slack.lanes import Lane
from broker.channels.slack.places import decode_post
from broker.channels.slack.postman import Tempo
from broker.domain.requests import ApprovalRequest
from tests.channels.slack.bench import Bench, buttons, text
from tests.fakes.slack_faults import Fault
from tests.fakes.slack_front import BOT_USER

PLACES = ("c1", "c2", "c3", "c4", "c5")
TENTH = Tempo(
    post=0.1, update=0.125, gap=0.15, crowd=6, crowd_window=6.0, digest_gap=0.4, home_gap=0.3, publish=0.06, look=0.02, retry=0.2,
    lease=2.0,
)  # fmt: skip


async def crowd(bench: Bench, count: int, seconds: float) -> dict[str, list[ApprovalRequest]]:
    """Park `count` requests evenly over five conversations and `seconds`."""
    parked: dict[str, list[ApprovalRequest]] = {place: [] for place in PLACES}
    started = anyio.current_time()
    for index, place in zip(range(count), cycle(PLACES), strict=False):
        bench.policies.rules(channels=f'["slack:#{place}"]')
        parked[place].append(await bench.parked(amount=index + 1))
        await anyio.sleep(max(0.0, started + (index + 1) * seconds / count - anyio.current_time()))
    return parked


async def settled(bench: Bench, parked: dict[str, list[ApprovalRequest]], within: float) -> None:
    """Wait until each request has a card or a digest that was posted."""
    with anyio.fail_after(within):
        for place, requests in parked.items():
            for request in requests:
                while not await placed(bench, place, request):
                    await bench.slack.next_call()
            held = sum([await folded(bench, place, request) for request in requests])
            while digests(await bench.slack.messages(place)) != held:
                await bench.slack.next_call()


async def placed(bench: Bench, place: str, request: ApprovalRequest) -> bool:
    post = (await bench.store.slack.posts.of(request.id)).get(f"#{place}")
    return post is not None and bool(decode_post(post).ts or decode_post(post).digest)


async def folded(bench: Bench, place: str, request: ApprovalRequest) -> bool:
    return bool(decode_post((await bench.store.slack.posts.of(request.id))[f"#{place}"]).digest)


def digests(messages: list[dict[str, object]]) -> int:
    """How many requests the digests of a conversation hold, by their own words."""
    return sum(int(found[1]) for message in messages if (found := re.search(r"of (\d+) requests wait", text(message))))


async def nothing_was_lost_or_broken(bench: Bench, count: int, seconds: float, within: float) -> None:
    bench.slack.limits.on = True
    async with bench.running():
        for name in ("dana", "fay", "alice", "mallory"):
            await bench.slack.event({"type": "app_home_opened", "user": await bench.slack.user(name), "tab": "home"})
        parked = await crowd(bench, count, seconds)
        await settled(bench, parked, within)
        assert bench.slack.limits.violations == []
        for place, requests in parked.items():
            messages = await bench.slack.messages(place)
            cards = [message for message in messages if "approve" in buttons(message)]
            shown = [request.id for card in cards for request in requests if request.id in text(card)]
            in_order = [request.id for request in requests if request.id in shown]
            assert shown == in_order
            assert len(cards) + digests(messages) == len(requests)
            assert len(messages) < len(requests) / 1.5


async def test_a_crowd_is_folded_without_breaking_a_limit(bench: Bench) -> None:
    bench.config = msgspec.structs.replace(bench.config, tempo=TENTH)
    bench.slack.limits.rules = {name: (every / 10, burst) for name, (every, burst) in bench.slack.limits.rules.items()}
    await nothing_was_lost_or_broken(bench, 120, 3.0, within=30)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_three_hundred_requests_in_a_minute_over_five_conversations(bench: Bench) -> None:
    bench.config = msgspec.structs.replace(bench.config, tempo=Tempo())
    await nothing_was_lost_or_broken(bench, 300, 60.0, within=120)


async def test_a_folded_request_is_decided_on_the_web_and_its_digest_says_so(bench: Bench) -> None:
    bench.config = msgspec.structs.replace(bench.config, tempo=msgspec.structs.replace(TENTH, crowd=1))
    async with bench.running():
        await bench.parked(amount=1)
        folded_ones = [await bench.parked(amount=amount) for amount in (2, 3)]
        digest = await bench.card(says="2 of 2 requests wait")
        assert "Refund 2 to A-1" in text(digest)
        assert buttons(digest) == ["together0", "open"]
        await bench.review(folded_ones[0], "fay@example.com")
        await bench.card(says="1 of 2 requests wait")
        await bench.review(folded_ones[1], "fay@example.com")
        assert "Approved" in text(await bench.card(says="2 requests, all decided"))


async def test_a_lost_reply_makes_no_second_digest_that_stays(bench: Bench) -> None:
    bench.config = msgspec.structs.replace(bench.config, tempo=msgspec.structs.replace(TENTH, crowd=1))
    async with bench.running():
        await bench.parked(amount=1)
        await bench.card()
        bench.slack.faults.append(Fault("chat.postMessage", "lost"))
        await bench.parked(amount=2)
        orphan, kept = await bench.seen(lambda cards: cards[1:] if len(cards) == 3 else None)
        posted = next(fields for method, fields, _ in reversed(bench.slack.calls) if method == "chat.postMessage")
        await bench.slack.event({
            "type": "message_metadata_posted", "app_id": "A0APPROVALS", "user_id": BOT_USER, "metadata": posted["metadata"],
            "channel_id": await bench.slack.channel("refunds"), "message_ts": orphan["ts"],
        })  # fmt: skip
        _, digest = await bench.seen(lambda cards: cards if len(cards) == 2 else None)
        assert digest["ts"] == kept["ts"]


async def test_turns_come_by_urgency_and_no_faster_than_the_limit() -> None:
    lane = Lane(0.05, 2, serial=True)
    order: list[str] = []
    times: list[float] = []

    async def go(name: str, urgency: float) -> None:
        async with lane.turn((urgency,)):
            order.append(name)
            times.append(anyio.current_time())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for name, urgency in (("a", 5.0), ("b", 5.0), ("c", 2.0), ("d", 1.0), ("e", 2.0)):
                tasks.start_soon(go, name, urgency)
    assert order == ["a", "b", "d", "c", "e"]
    assert times[-1] - times[0] >= 0.15 - 0.01


async def test_a_turn_that_was_given_up_holds_nobody_up() -> None:
    lane = Lane(0.01, 1, serial=True)
    with anyio.fail_after(5):
        async with lane.turn((0.0,)):
            with anyio.move_on_after(0.02):
                async with lane.turn((0.0,)):
                    raise AssertionError("two at once")
        async with lane.turn((0.0,)):
            pass
        lane.hold(0.05)
        started = anyio.current_time()
        async with lane.turn((0.0,)):
            assert anyio.current_time() - started >= 0.04
