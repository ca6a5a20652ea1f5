"""Counting use: what brokers saw done, in the store of all of them; and the month that a large company had."""

from __future__ import annotations

import itertools
import json
import random
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from broker.cli import insights
from broker.domain.calls import Caller
from broker.domain.events import CallDecided
from broker.domain.servers import Server, ToolFacts
from broker.errors import StoreUnavailable
from broker.insights.usage import Lately
from broker.store import keys
from broker.store.open import Store
from broker.usage import UsageBook
from tests.channels.web.test_request_page import text_of
from tests.conftest import empty
from tests.fakes.scripted import Reply, Seen, answer
from tests.fakes.wired import Wired, wired

MONTH = datetime(2026, 10, 1, tzinfo=UTC)
# Calls and people of the month that Pinterest printed of its own servers; 6.36 minutes a call make its 7,000 hours.
CALLS, PEOPLE, MINUTES = 66_000, 844, 6.36
FLEET = {name: Server(name=name, tools={"ask": ToolFacts(minutes_saved=MINUTES)}) for name in ("presto", "spark", "knowledge")}


def allowed(at: datetime, caller: Caller, server: str, tool: str = "ask") -> CallDecided:
    return CallDecided(at=at, caller=caller, server=server, tool=tool, digest="d", effect="allow", policy="p")


async def test_the_month_of_a_large_company_is_what_a_recount_by_hand_gives(store: Store) -> None:
    chosen, book = random.Random(5), UsageBook()
    book.serving(FLEET.get)
    users = itertools.chain(range(PEOPLE), iter(lambda: chosen.randrange(PEOPLE), None))
    made = [(chosen.choice(tuple(FLEET)), f"user-{next(users)}@example.com", chosen.randrange(31 * 86_400)) for _ in range(CALLS)]
    for server, user, second in made:
        book.observe(allowed(MONTH + timedelta(seconds=second), Caller(user=user), server), None)
    await book.flush(store.usage)
    found = await store.usage.month("2026-10")
    assert (found.calls, found.failed, found.people) == (66_000, 0, 844)
    assert found.hours == round(CALLS * MINUTES / 60) == 6_996
    assert {one.server: (one.calls, one.people) for one in found.servers} == {
        name: (sum(server == name for server, _, _ in made), len({user for server, user, _ in made if server == name}))
        for name in FLEET
    }
    assert sum(calls for _, calls in found.days) == CALLS
    assert len(found.days) == 31


async def test_services_are_no_people_and_the_month_ends_at_midnight(store: Store) -> None:
    book = UsageBook()
    last = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)
    for at, caller in (
        (last, Caller(user="ann")),
        (last, Caller(user="bo")),
        (last, Caller(agent="bot", owner="cy")),
        (last, Caller(workload="spiffe://example.com/svc")),
        (last + timedelta(seconds=1), Caller(user="dana")),
    ):
        book.observe(allowed(at, caller, "presto"), None)
    await book.flush(store.usage)
    october, november = await store.usage.month("2026-10"), await store.usage.month("2026-11")
    assert [(month.calls, month.people) for month in (october, november)] == [(4, 3), (1, 1)]


async def test_minutes_are_those_in_force_at_the_time_of_the_call(store: Store) -> None:
    fleet, book = dict(FLEET), UsageBook()
    book.serving(fleet.get)
    book.observe(allowed(MONTH, Caller(user="ann"), "presto"), None)
    fleet["presto"] = Server(name="presto", tools={"ask": ToolFacts(minutes_saved=100)})
    book.observe(allowed(MONTH, Caller(user="ann"), "presto"), None)
    await book.flush(store.usage)
    assert (await store.usage.month("2026-10")).minutes == pytest.approx(106.36)


async def test_what_two_brokers_counted_is_added_up(store: Store) -> None:
    for _ in range(2):
        book = UsageBook()
        book.observe(allowed(MONTH, Caller(user="ann"), "presto"), None)
        await book.flush(store.usage)
    found = await store.usage.month("2026-10")
    assert (found.calls, found.people) == (2, 1)


async def test_what_could_not_be_written_is_written_later(store: Store) -> None:
    class Away:
        async def add(self, counts: object, people: object, tools: object) -> None:
            raise StoreUnavailable("away")

    book = UsageBook()
    book.observe(allowed(MONTH, Caller(user="ann"), "presto"), None)
    book.answered(allowed(MONTH, Caller(user="ann"), "presto"))
    with pytest.raises(StoreUnavailable):
        await book.flush(Away())
    book.observe(allowed(MONTH, Caller(user="bo"), "presto"), None)
    await book.flush(store.usage)
    found = await store.usage.month("2026-10")
    assert (found.calls, found.people) == (2, 2)
    assert await store.usage.recent("ann", MONTH.date(), 5) == [("presto", "ask")]


async def _error(seen: Seen, reply: Reply) -> None:
    await reply.json(answer(seen, {"content": [], "isError": True}))


@pytest.fixture
async def broker(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wired]:
    await empty(store_url)
    servers = "servers: {{tools: {{url: '{url}', tools: {{echo: {{minutes_saved: 30}}, park_me: {{minutes_saved: 60}}}}}}}}\n"
    monkeypatch.setattr("tests.fakes.wired.SERVERS", servers)
    async with wired(store_url, tmp_path) as run:
        yield run


async def test_a_whole_broker_counts_what_it_lets_through_what_it_releases_and_what_fails(
    broker: Wired, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Thirteen calls: page, API, terminal and Prometheus tell the same of them."""
    for number in range(6):
        await broker.call("echo", {"x": number})
    await broker.call("denied", {"x": 1})
    await broker.call(f"made-up-{'x' * 40}", {"x": 1})
    for number in range(2):
        await broker.parked({"what": str(number)})
    broker.upstream.on["tools/call"] = _error
    for number in range(3):
        await broker.call("echo", {"x": 10 + number})
    month, started = f"{datetime.now(UTC):%Y-%m}", time.monotonic()
    while (found := await broker.run.broker.store.usage.month(month)).calls < 11:
        assert time.monotonic() - started < 20
        await anyio.sleep(0.05)
    assert (found.calls, found.failed, found.people, found.tools, found.minutes) == (11, 3, 1, 2, 300.0)
    lately = await broker.run.broker.store.usage.recent("sam@example.com", datetime.now(UTC).date(), 5)
    assert lately == [("tools", "echo")]  # what an approved call gave has a page of its own

    api = (await broker.http.get(f"{broker.url}/api/v1/usage", headers={"authorization": f"Bearer {broker.dana}"})).json()
    assert (api["calls"], api["failed"], api["people"], api["tools"], api["hours_saved"]) == (11, 3, 1, 2, 5)
    monkeypatch.setenv("BROKER_REDIS_URL", store_url)
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "terminal"))
    capsys.readouterr()
    await insights.run(Namespace(month=month, json=True))
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{\n") :]) == api  # the log, which a program writes to stderr, comes before it
    await insights.run(Namespace(month=month, json=False))
    told = capsys.readouterr().out
    assert f"{month}: 11 calls, 3 failed; 1 person; about 5 hours saved" in told
    assert "tools                              11        3        1        2       5" in told

    link = await broker.run.broker.identity.links.add("dana@example.com")
    await broker.http.post(f"{broker.url}/sign-in", data={"code": link})
    page = text_of((await broker.http.get(f"{broker.url}/insights?month={month}")).text)
    assert "calls 11 people 1 servers 1 tools 2 hours saved, about 5" in page
    assert "tools 11 3 1 2 5" in page

    lines = (await broker.http.get(f"{broker.url}/metrics")).text.splitlines()
    assert [line.removeprefix("approval_broker_") for line in lines if "_month_" in line and not line.startswith("#")] == [
        "month_calls 11.0", "month_people 1.0", "month_saved_minutes 300.0",
    ]  # fmt: skip
    assert sorted(line.removeprefix("approval_broker_") for line in lines if "tool_calls_total{" in line) == [
        'tool_calls_total{outcome="denied",server="tools",surface="",tool="other"} 2.0',
        'tool_calls_total{outcome="failed",server="tools",surface="",tool="echo"} 3.0',
        'tool_calls_total{outcome="succeeded",server="tools",surface="",tool="echo"} 6.0',
        'tool_calls_total{outcome="succeeded",server="tools",surface="",tool="park_me"} 2.0',
    ]
    assert "approval_broker_servers 1.0" in lines


async def test_the_last_30_days_of_a_server_are_what_a_recount_by_hand_gives(store: Store) -> None:
    """Calls on the edge of the window and outside of it, people who came back, two brokers, and two other servers."""
    chosen, today = random.Random(7), datetime(2026, 3, 1, 12, tzinfo=UTC)  # 30 days that lie in three months
    made = [
        (chosen.choice(tuple(FLEET)), f"user-{chosen.randrange(40)}@example.com", today - timedelta(days=chosen.randrange(60)))
        for _ in range(200)
    ]
    for half in (made[:100], made[100:]):
        book = UsageBook()
        book.serving(FLEET.get)
        for server, user, at in half:
            book.observe(allowed(at, Caller(user=user), server), None)
        await book.flush(store.usage)
    since = today.date() - timedelta(days=29)
    for name in FLEET:
        recount = [user for server, user, at in made if server == name and at.date() >= since]
        found = await store.usage.lately(name, today.date())
        assert (found.calls, found.failed, found.people) == (len(recount), 0, len(set(recount)))
        assert found.minutes == pytest.approx(len(recount) * MINUTES)
        assert len(set(recount)) < len({user for server, user, _ in made if server == name})
    assert await store.usage.lately("never", today.date()) == Lately()


async def test_what_is_kept_of_people_of_the_last_30_days_is_one_line_each(store: Store) -> None:
    for day in range(90):
        book = UsageBook()
        for user in ("ann", "bo") if day < 65 else ("ann", "cy"):
            book.observe(allowed(MONTH + timedelta(days=day, seconds=1), Caller(user=user), "presto"), None)
        await book.flush(store.usage)
    last = (MONTH + timedelta(days=89)).date()
    assert [(await store.usage.lately("presto", last + timedelta(days=later))).people for later in (0, 4, 5, 29, 30)] == [
        3,
        3,
        2,
        2,
        0,
    ]
    assert await store.usage._commands.run("ZCARD", keys.usage_lately("presto")) == 3
