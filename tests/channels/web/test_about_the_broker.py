"""The pages about the whole broker: policies, insights, health."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast

import anyio
import msgspec
import pytest

from broker.agreement import Agreement
from broker.channels.slack.troubles import Trouble
from broker.channels.web.bookkeeper import Bookkeeper
from broker.channels.web.charts import HEIGHT, TOP, by_day
from broker.domain.calls import Caller
from broker.domain.events import CallDecided
from broker.insights.feedback import CHOICES, Said
from broker.insights.figures import Day
from broker.insights.usage import Count, Spot
from broker.policy.load import load
from broker.policy.model import Problem
from broker.reload import PolicyFolder
from broker.store.open import Store
from broker.vitals import Vitals
from tests.channels.web.conftest import ANN, BO, Policies, Site, served

PEOPLE = (
    "people: {ann@example.com: {name: Ann}}\ngroups: {finance: [ann@example.com, bo@example.com], support: [cy@example.com]}\n"
)
SERVERS = 'servers: {payments: {url: "http://127.0.0.1:9/mcp", tools: {refund_create: {destructive: true}}}}\n'
RULES = """
defaults: {unmatched: deny}
rules:
  - {id: small, match: {server: payments, tool: refund_create}, when: args.amount <= 100, effect: allow}
  - id: large
    title: "Refund {args.amount}"
    match: {server: payments, tool: refund_create}
    when: args.amount > 100 && args.currency == "EUR"
    effect: require_approval
    approval: {all_of: [{group: finance, count: 2}], timeout: 15m}
  - {id: never, guardrail: true, match: {groups_any: [support]}, effect: deny}
"""
TESTS = """
cases:
  - {name: small runs, call: [payments, refund_create, {amount: 40, currency: EUR}], expect: allow, rules: [small]}
  - {name: wrong on purpose, call: [payments, refund_create, {amount: 40}], expect: deny}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("people", PEOPLE), ("servers", SERVERS), ("rules", RULES), ("rules.test", TESTS)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


async def page_of(store: Store, folder: Path, path: str) -> str:
    policies = Policies()
    policies.current = load(folder)
    async with served(store, policies=policies, policy_folder=folder) as site:
        return (await (await site.visitor(ANN)).get(path)).text


async def test_every_rule_is_shown_with_what_it_is_about_and_where_it_stands(store: Store, folder: Path) -> None:
    page = text_of(await page_of(store, folder, "/policies"))
    for told in (
        "3 rules in force", "large require approval rules.yaml:5",
        "args.amount &gt; 100 &amp;&amp; args.currency == &#34;EUR&#34;",
        "asks 2 of finance", "never deny guardrail", "groups_any support", "2 tests, 1 of them fail", "wrong on purpose",
        "Has decided nothing in 30 days.",
    ):  # fmt: skip
        assert told in page
    assert page.index("never deny") < page.index("large require approval") < page.index("small allow")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("server=payments&tool=refund_create&arguments={%22amount%22:40}", "Allowed by small"),
        ("server=payments&tool=refund_create&arguments={%22amount%22:900,%22currency%22:%22EUR%22}", "People are asked by large"),
        ("server=payments&tool=refund_create&arguments={%22amount%22:40}&groups=support", "Denied by never"),
        ("server=nowhere&tool=x", "Denied by unknown_server"),
        ("server=payments&tool=refund_create&arguments={", "The arguments are no JSON"),
        ("server=payments&tool=refund_create&arguments=[1]", "Denied by arguments"),
    ],
)
async def test_one_call_can_be_tried_and_nothing_is_sent(store: Store, folder: Path, query: str, told: str) -> None:
    assert told in text_of(await page_of(store, folder, f"/policies?{query}"))
    assert await store.audit.read(0, 100) == [] or all(
        entry.event.__class__.__name__ == "Noted" for entry in await store.audit.read(0, 100)
    )


async def test_the_trace_shows_the_values_of_the_parts_of_a_condition(store: Store, folder: Path) -> None:
    query = "server=payments&tool=refund_create&arguments={%22amount%22:900,%22currency%22:%22EUR%22}"
    page = text_of(await page_of(store, folder, f"/policies?{query}"))
    assert "args.amount &gt; 100 is true" in page
    assert "args.amount is 900" in page


async def test_where_no_policy_ever_was_good_the_page_says_so(store: Store) -> None:
    class None_(Policies):
        @property
        def current(self):  # type: ignore[no-untyped-def,override]
            from broker.errors import PolicyInvalid  # noqa: PLC0415

            raise PolicyInvalid(())

    broken = None_()
    broken.problems = (Problem("rules.yaml", 1, 1, "no"),)
    async with served(store) as site:
        ann = await site.visitor(ANN)
        object.__setattr__(site.parts, "policies", broken)
        page = await ann.get("/policies")
    assert page.status_code == 200
    assert "No policy is in force" in page.text


async def counted(site: Site) -> None:
    await site.web.bookkeeper.catch_up()


async def test_insights_count_what_was_asked_and_how_people_decided(site: Site) -> None:
    first, second = await site.park("One", {"n": 1}), await site.park("Two", {"n": 2})
    await site.review(await site.visitor(ANN), first, "approve")
    await site.review(await site.visitor(BO), second, "reject", "no")
    fact = CallDecided(
        at=datetime.now(UTC),
        caller=Caller(agent="a"),
        server="s",
        tool="t",
        digest="d",
        effect="allow",
        policy="p",
        rules=("small",),
    )
    await site.store.audit.append(fact)
    await counted(site)
    page = text_of((await (await site.visitor(ANN)).get("/insights")).text)
    assert "allowed at once 1" in page
    assert "left to people 2" in page
    assert "refund-large 2 2 1 1 0" in page
    assert "2 of 2" not in page
    assert "1 of 1 approvals took less than 2 seconds" in page


async def test_the_count_begins_at_the_window_and_goes_on_from_there(store: Store) -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    now = datetime(2026, 11, 24, tzinfo=UTC)
    for number in range(20):
        at = old if number < 13 else now
        await store.audit.append(CallDecided(at=at, caller=Caller(), server="s", tool="t", digest="d", effect="deny", policy="p"))
    bookkeeper = Bookkeeper(store.audit, lambda: now)
    await bookkeeper.catch_up()
    assert [(day.day, day.denied) for day in bookkeeper.figures().days] == [(date(2026, 11, 24), 7)]
    await store.audit.append(CallDecided(at=now, caller=Caller(), server="s", tool="t", digest="d", effect="deny", policy="p"))
    await bookkeeper.catch_up()
    assert bookkeeper.figures().days[0].denied == 8


def test_a_chart_stacks_outcomes_and_shows_empty_days() -> None:
    chart = by_day([Day(date(2026, 11, 24), approved=30, rejected=10)], date(2026, 11, 24), count=3)
    assert (chart.top, [len(column.bars) for column in chart.columns]) == (40, [0, 0, 2])
    approved, rejected = chart.columns[-1].bars
    assert approved.y + approved.height == pytest.approx(HEIGHT)
    assert rejected.y + rejected.height == pytest.approx(approved.y)
    assert approved.height == pytest.approx((HEIGHT - TOP) * 0.75, abs=0.1)


async def test_health_shows_what_the_broker_finds_with_its_mend(site: Site) -> None:
    page = text_of((await (await site.visitor(ANN)).get("/health")).text)
    assert "Look at it deliveries one card was given up Mend the channel." in page


async def test_health_shows_which_policy_each_broker_runs_and_what_waits_for_channels(site: Site) -> None:
    mine = cast("Vitals", site.parts.vitals)._agreement
    await mine.look()
    other = Agreement(site.store.agreed, cast("PolicyFolder", site.policies), site.store.presence, "broker-2")
    object.__setattr__(other, "_digest", lambda: "sha256:" + "0a" * 32)
    await site.park()
    await other.look()
    await mine.look()
    page = text_of((await (await site.visitor(ANN)).get("/health")).text)
    assert "They do not run the same policy" in page
    assert f"broker-1 This one {'5f' * 8} broker-2 {'0a' * 8}" in page
    assert "on the way 1 tried again 0 given up 0" in page


async def test_a_channel_that_does_not_deliver_is_told_on_every_page_until_it_does(site: Site) -> None:
    ann, since = await site.visitor(ANN), datetime(2026, 11, 24, 14, 2, tzinfo=UTC)
    place = Trouble("#refunds", "channel_not_found", "invite the app", since, 3)
    await site.store.slack.troubles.put(place.place, msgspec.json.encode(place))
    for path, told in (("/", True), ("/history", True), ("/health/banner", True)):
        await site.web.watchman.look()
        assert ("Slack: 3 cards not delivered since 14:02 UTC." in (await ann.get(path)).text) is told
    await site.store.slack.troubles.delete(place.place)
    await site.web.watchman.look()
    assert "not delivered" not in (await ann.get("/")).text
    assert "not delivered" not in (await site.stranger().get("/sign-in")).text


@pytest.mark.parametrize("path", ["/policies", "/insights", "/health"])
async def test_somebody_in_no_group_sees_no_page_about_the_broker(site: Site, path: str) -> None:
    nobody = await site.visitor("nobody@example.com")
    assert (await nobody.get(path)).status_code == 403
    with anyio.fail_after(5):
        assert (await site.stranger().get(path)).status_code == 303


async def test_the_use_of_a_month_is_shown_beside_those_before(site: Site) -> None:
    spots = {
        Spot(date(2026, 3, 2), "payments", "refund_get", 30.0): Count(1_200, 5),
        Spot(date(2026, 2, 27), "payments", "refund_get", 30.0): Count(10),
    }
    both = {("payments", "ann"), ("payments", "bo")}
    await site.store.usage.add(spots, {date(2026, 3, 2): both, date(2026, 2, 27): {("payments", "ann")}})
    page = text_of((await (await site.visitor(ANN)).get("/insights?month=2026-03")).text)
    assert "Use in March 2026" in page
    assert "payments 1,205 5 2 1 600" in page
    assert "March 2026 1,205 2 1 600 February 2026 10 1 1 5 January 2026 0 0 0 0" in page


async def test_the_api_tells_the_use_of_a_month(site: Site) -> None:
    await site.store.usage.add(
        {Spot(date(2026, 3, 2), "payments", "refund_get", 30.0): Count(3, 1)}, {date(2026, 3, 2): {("payments", "ann")}}
    )
    ann = await site.api(ANN)
    assert (await ann.get("/api/v1/usage?month=2026-03")).json() == {
        "month": "2026-03", "calls": 4, "failed": 1, "people": 1, "tools": 1, "hours_saved": 2, "days": {"2026-03-02": 4},
        "servers": [{"server": "payments", "calls": 4, "failed": 1, "people": 1, "tools": 1, "minutes": 90.0}],
        "estimates": [
            {"server": "payments", "tool": "refund_get", "calls": 4, "owner_minutes": 30.0, "people_minutes": None, "answers": 0}
        ],
    }  # fmt: skip
    assert (await ann.get("/api/v1/usage?month=2026-13")).status_code == 400
    assert (await ann.get("/api/v1/usage")).json()["calls"] == 0


async def test_the_page_over_the_month_of_a_large_company_costs_little(site: Site) -> None:
    """66,000 calls of 844 people, as numbers: what the page reads grows with days and tools, not with calls."""
    days = [date(2026, 10, day) for day in range(1, 32)]
    tools = [(server, f"tool-{number}") for server in ("presto", "spark", "knowledge") for number in range(10)]
    counts = {Spot(day, *tool, 6.36): Count(71) for day in days for tool in tools}
    people = {(server, f"user-{number}") for server in ("presto", "spark", "knowledge") for number in range(844)}
    await site.store.usage.add(counts, {days[0]: people})
    for number in range(844):
        said = Said(*tools[number % 30], 6.36, CHOICES[number % 6])
        await site.store.feedback.put("2026-10", f"apr_{number} user-{number}", said)
    visitor, took = await site.visitor(ANN), []
    for _ in range(3):
        began = time.process_time()
        page = await visitor.get("/insights?month=2026-10")
        took.append(time.process_time() - began)
    print(f"insights over 66,000 calls: {1000 * min(took):.0f} ms of processor time, server and client")
    assert min(took) < 0.2
    assert "66,030" in page.text
    assert "6,999" in page.text


@pytest.mark.parametrize("path", ["/", "/policies", "/servers", "/insights", "/health", "/history", "/account", "/sign-in"])
async def test_a_broker_that_needs_no_token_says_so_on_every_page(store: Store, path: str) -> None:
    async with served(store, warning="Any program on this machine may call the servers without a token.") as site:
        client = site.stranger() if path == "/sign-in" else await site.visitor(ANN)
        assert "Not protected. Any program on this machine may call" in text_of((await client.get(path)).text)
