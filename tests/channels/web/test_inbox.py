from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import process_time
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from broker.approvals.ports import Query
from broker.channels.web.board import Board
from broker.domain.requests import RequestState
from broker.policy.model import Problem
from tests.channels.web.conftest import ANN, BO, CY, DANA, Site


def titles(page: str) -> list[str]:
    return re.findall(r'class="row-title">([^<]*)<', page)


async def test_the_inbox_puts_the_most_severe_first_and_then_what_ends_first(site: Site) -> None:
    await site.park("Later", {"n": 1}, severity="high", timeout=timedelta(hours=3))
    await site.park("Low", {"n": 2}, severity="low", timeout=timedelta(minutes=1))
    await site.park("Sooner", {"n": 3}, severity="high", timeout=timedelta(hours=1))
    await site.park("Critical", {"n": 4}, severity="critical", timeout=timedelta(hours=8))
    ann = await site.visitor(ANN)
    await site.listed(ann, "Critical")
    assert titles(await site.listed(ann, "Low")) == ["Critical", "Sooner", "Later", "Low"]


async def test_each_person_sees_what_waits_for_them(site: Site) -> None:
    await site.park("For finance", {"n": 1})
    await site.park("For security", {"n": 2}, asks=(("security", 1),))
    seen = {}
    for person in (ANN, CY, DANA):
        client = await site.visitor(person)
        if person == CY:
            await site.listed(client, "For security")
        seen[person] = (sorted(titles((await client.get("/")).text)), sorted(titles((await client.get("/?view=asked")).text)))
    assert seen == {
        ANN: (["For finance"], []),
        CY: (["For finance", "For security"], []),
        DANA: ([], ["For finance", "For security"]),
    }


async def test_what_one_has_answered_no_longer_waits_for_one(site: Site) -> None:
    request = await site.park(asks=(("finance", 2),))
    ann, bo = await site.visitor(ANN), await site.visitor(BO)
    await site.listed(ann, "Refund 900")
    await site.review(ann, request, "approve")
    page = await site.listed(ann, "Nothing waits for you")
    assert titles(page) == []
    assert titles((await bo.get("/")).text) == ["Refund 900 EUR to Acme"]
    assert "You have answered" in await site.listed(ann, "You have answered", "/?view=all")


async def test_a_decided_request_leaves_the_list(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    await site.listed(ann, "Refund 900")
    await site.review(ann, request, "reject", "no")
    await site.listed(ann, "Nothing is open", "/?view=all")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=WIRE", ["Wire 5 to Zed"]),
        ("severity=low", ["Delete a file"]),
        ("server=files", ["Delete a file"]),
        ("q=nothing", []),
        ("view=nonsense", ["Wire 5 to Zed", "Delete a file"]),
    ],
)
async def test_the_address_filters_the_list(site: Site, query: str, found: list[str]) -> None:
    await site.park("Wire 5 to Zed", {"n": 1}, severity="high")
    await site.park("Delete a file", {"n": 2}, severity="low", server="files", tool="delete")
    ann = await site.visitor(ANN)
    await site.listed(ann, "Wire 5")
    await site.listed(ann, "Delete a file")
    assert titles((await ann.get(f"/?{query}")).text) == found


async def test_many_alike_are_folded_with_what_differs_between_them(site: Site) -> None:
    for number in range(4):
        await site.park(f"Refund {number}", {"amount": number, "to": "Acme"}, show=("args.amount", "args.to"))
    await site.park("Another", {"n": 1}, tool="other")
    ann = await site.visitor(ANN)
    await site.listed(ann, "Another")
    page = await site.listed(ann, "4 alike")
    assert sorted(titles(page)) == ["Another", "refund_create"]
    assert re.findall(r"<th scope=\"col\">([^<]*)<", page) == ["amount", "time"]
    assert sorted(re.findall(r"<span class=\"unseen\">([^<]*)</span>([^<]*)</a>", page)) == [
        (f"Refund {number}: ", str(number)) for number in range(4)
    ]


async def test_the_groups_of_a_person_are_a_list_of_their_own(site: Site) -> None:
    answered = await site.park("Answered", {"n": 1}, asks=(("finance", 2),))
    await site.park("Of others", {"n": 2}, asks=(("security", 1),), owner=ANN)
    ann = await site.visitor(ANN)
    await site.listed(ann, "Of others", "/?view=all")
    await site.review(ann, answered, "approve")
    assert titles(await site.listed(ann, "You have answered", "/?view=groups")) == ["Answered"]


async def test_a_lost_request_waits_for_somebody_to_record_what_happened(site: Site) -> None:
    request = await site.park()
    await site.review(await site.visitor(ANN), request, "approve")
    soon = timedelta(minutes=1)
    update = site.store.requests.update
    await update(request.id, lambda r, now: r.claimed("broker-1", "n", now, lease=soon, policy=r.policy, definition=""))
    await update(request.id, lambda r, now: r.lost(now))
    assert "Result unknown" in await site.listed(await site.visitor(BO), "Result unknown")


async def test_problems_of_the_policy_files_are_shown_with_their_place(site: Site) -> None:
    site.policies.problems = (Problem("rules.yaml", 3, 7, "unknown key `efect`", "write `effect`"),)
    page = (await (await site.visitor(ANN)).get("/")).text
    assert "rules.yaml:3:7: unknown key `efect`; write `effect`" in page
    assert "rules.yaml" not in (await site.stranger().get("/sign-in")).text


async def test_the_list_follows_another_broker(site: Site, open_another) -> None:  # type: ignore[no-untyped-def]  # the root fixture
    request = await site.park()
    ann = await site.visitor(ANN)
    await site.listed(ann, "Refund 900")
    async with open_another("broker-2") as second:
        await second.requests.update(request.id, lambda r, now: r.cancelled(now))
    await site.listed(ann, "Nothing waits for you")


async def test_a_live_stream_tells_that_a_request_moved_and_nothing_else(site: Site) -> None:
    ann = await site.visitor(ANN)
    async with ann.stream("GET", "/live") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        with anyio.fail_after(5):
            assert [await anext(lines) for _ in range(4)] == ["retry: 1000", "event: inbox", "data: 1", ""]
            await site.park("Not for finance", {"n": 1}, asks=(("security", 1),))
            request = await site.park("Secret title", {"n": 2})
            assert [await anext(lines) for _ in range(6)] == [
                "event: inbox",
                "data: 1",
                "",
                "event: request",
                f"data: {request.id}",
                "",
            ]


async def test_a_live_stream_ends_when_the_broker_stops(site: Site) -> None:
    ann = await site.visitor(ANN)
    async with ann.stream("GET", "/live") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        site.parts.closing.set()
        with anyio.fail_after(3):
            assert [line async for line in lines][-1] == ""


async def test_an_open_stream_does_not_outlive_the_session(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.channels.web.live.BEAT", 0.02)
    ann = await site.visitor(ANN)
    async with ann.stream("GET", "/live") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        await site.sessions.end_all(ANN)
        with anyio.fail_after(5):
            async for _ in lines:
                pass


async def test_500_watchers_hear_of_a_decision_within_a_second(site: Site) -> None:
    request = await site.park()
    await site.listed(await site.visitor(ANN), "Refund 900")
    heard: list[RequestState] = []
    with_watch = site.web.board.watch

    async def one(started: anyio.Event) -> None:
        with with_watch() as rows:
            if len(site.web.board._watchers) == 500:
                started.set()
            heard.append((await rows.receive()).state)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            started = anyio.Event()
            for _ in range(500):
                tasks.start_soon(one, started)
            await started.wait()
            before = process_time()
            await site.store.requests.update(request.id, lambda r, now: r.cancelled(now))
    assert heard == [RequestState.CANCELLED] * 500
    assert process_time() - before < 1


class Behind:
    """The requests of a store, whose pages come only once something else has happened."""

    def __init__(self, requests: Any) -> None:
        self._requests = requests
        self.get = requests.get
        self.meanwhile: Callable[[], Awaitable[object]] = checkpoint

    async def find(self, query: Query, *, limit: int, cursor: str = "") -> Any:
        page = await self._requests.find(query, limit=limit, cursor=cursor)
        await self.meanwhile()
        return page


async def test_a_load_never_brings_back_what_ended_while_its_pages_were_read(site: Site) -> None:
    ann, request, behind = await site.visitor(ANN), await site.park(), Behind(site.store.requests)
    board = Board(behind, site.store.changes, mask_key=b"k" * 32, closing=asyncio.Event())
    await board.load()
    assert [row.id for row in board.rows()] == [request.id]

    async def rejected() -> None:
        assert (await site.review(ann, request, "reject", "not now")).status_code in (200, 303)
        await board._read(request.id)

    behind.meanwhile = rejected
    await board.load()
    assert board.rows() == ()
