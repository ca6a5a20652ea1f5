"""Figures: every call is counted by what became of it, and what was saved is told as the direction that it is."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import anyio
import pytest

from broker.cli.main import main
from broker.domain.calls import Caller
from broker.domain.events import CallDecided, Finished, Opened, Reviewed
from broker.domain.servers import Server, ToolFacts
from broker.insights.usage import Usage
from broker.usage import UsageBook
from tests.company.bench import Bench
from tests.company.files import ANN, FIN, RULES, SAM

MARKER = "the-marker-of-this-test"


async def scraped(bench: Bench) -> Counter[str]:
    """What Prometheus reads of calls."""
    text = (await bench.http.get(f"{bench.url}/metrics")).text
    kinds = tuple(f"approval_broker_{kind}_total" for kind in ("calls", "call_failures", "requests"))
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(kinds)]
    return Counter({name.removeprefix("approval_broker_"): int(float(value)) for name, value in lines})


async def used(bench: Bench, month: str = "") -> dict[str, Any]:
    return dict((await bench.api(SAM, "GET", f"/api/v1/usage?month={month}")).json())


async def overwrite(bench: Bench, table: str, rows: int = 1, **more: Any) -> Any:
    arguments = {"table": table, "rows": rows, **more}
    return await bench.approved(f"Overwrite {table}", lambda: bench.call(bench.token(), "presto", "overwrite_table", arguments))


async def test_thirteen_calls_are_counted_thirteen_times_by_what_became_of_them(bench: Bench) -> None:
    """The servers know nothing of any counting."""
    before, month = await scraped(bench), await used(bench)
    for number in range(6):
        await bench.call(bench.token(), "presto", "list_tables", {"number": number})
    for number in range(3):
        await bench.call(bench.token(FIN), "presto", "get_revenue_metrics", {"quarter": f"Q{number}"})
    for _ in range(2):
        await bench.call(bench.token(), "presto", "status", {"broken": True})
    await overwrite(bench, "counted")
    await overwrite(bench, "counted-failed", -1)
    counted = await scraped(bench) - before
    assert {name: count for name, count in counted.items() if "presto" in name} == {
        'calls_total{effect="allow",server="presto"}': 8, 'calls_total{effect="deny",server="presto"}': 3,
        'calls_total{effect="require_approval",server="presto"}': 2, 'call_failures_total{outcome="failed",server="presto"}': 2,
    }  # fmt: skip
    assert counted['requests_total{state="executing"}'] == 2  # 8 allowed, 3 denied and 2 asked are 13
    with anyio.fail_after(10):
        while (now := await used(bench))["calls"] < month["calls"] + 10:  # noqa: ASYNC110 - it is counted every few seconds
            await anyio.sleep(0.1)
    assert (now["calls"] - month["calls"], now["failed"] - month["failed"]) == (10, 3)  # allowed or released, and which failed


async def test_the_calls_of_all_servers_are_the_sum_and_the_busiest_server_stands_first(bench: Bench) -> None:
    for number in range(4):
        await bench.call(bench.token(), "knowledge", "search", {"question": f"sum {number}"})
    for number in range(20):
        await bench.call(bench.token(), "presto", "list_tables", {"number": number})
    events = await bench.events()
    ran = Counter(event.server for event in events if isinstance(event, CallDecided) and event.effect == "allow")
    ran += Counter({"presto": sum(isinstance(event, Finished) for event in events)})
    with anyio.fail_after(10):
        while (month := await used(bench))["calls"] < sum(ran.values()):  # noqa: ASYNC110 - it is counted every few seconds
            await anyio.sleep(0.1)
    by_server = {one["server"]: one["calls"] for one in month["servers"]}
    assert by_server == ran
    assert month["calls"] == sum(by_server.values()) == sum(month["days"].values())
    assert list(by_server) == [server for server, _ in ran.most_common()]
    assert next(iter(by_server)) == "presto"


async def test_a_tool_that_raises_is_told_by_the_audit_and_its_trace_by_the_page(bench: Bench) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    before = await bench.mark()
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    arguments = {"table": "raises", "rows": -1}
    call = lambda: bench.call(bench.token(), "presto", "overwrite_table", arguments, **headers)  # noqa: E731
    answer = (await bench.approved("Overwrite raises", call)).json()["result"]
    assert (answer["isError"], "Error executing tool" in str(answer["content"])) == (True, True)
    [finished] = [event for event in await bench.events(before) if isinstance(event, Finished)]
    assert (finished.why, finished.trace) == ("the tool ran and answered with an error", trace)
    await bench.call(bench.token(), "presto", "status", {"broken": True}, **headers)
    told = (await bench.api(SAM, "GET", "/api/v1/audit?limit=2")).json()["calls"]
    assert [(one["tool"], one["outcome"], one["trace"]) for one in told] == [
        ("status", "failed", trace), ("overwrite_table", "failed", trace),
    ]  # fmt: skip
    async with bench.visitor(SAM) as page:
        shown = (await page.get(f"/r/{finished.request}")).text
        assert (trace in shown, finished.why in shown) == (True, True)


async def test_what_a_rule_covers_is_covered_everywhere_and_an_output_is_kept_as_its_digest(bench: Bench) -> None:
    before = await bench.mark()
    redacting = RULES.replace("severity: high", 'severity: high\n    redact: ["$.args.note"]')
    async with bench.changed(rules=redacting), bench.person() as sam, anyio.create_task_group() as tasks:
        arguments = {"table": "covered", "rows": 1, "note": MARKER}
        tasks.start_soon(bench.call, bench.token(), "presto", "overwrite_table", arguments)
        one = await sam.titled("Overwrite covered")
        card = json.dumps(await bench.card("Overwrite covered"))
        api = (await sam.http.get(f"/requests/{one['id']}")).text
        async with bench.visitor(SAM) as page:
            shown = (await page.get(f"/r/{one['id']}")).text
        await sam.approve(one)
    events = await bench.events(before)
    assert [text for text in (card, api, shown, str(events)) if MARKER in text] == []
    assert bench.toys["presto"].count("overwrite_table", **arguments) == 1
    [finished] = [event for event in events if isinstance(event, Finished)]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", finished.result)
    assert "presto.overwrite_table ran" not in str(events)


async def test_the_dashboards_figures_are_a_recomputation_from_the_audit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await overwrite(bench, "figured")
    monkeypatch.setenv("BROKER_REDIS_URL", bench.store)
    monkeypatch.setenv("BROKER_DATA", str(bench.folder / "data"))
    capsys.readouterr()
    assert await anyio.to_thread.run_sync(main, ["insights", "--json"]) == 0
    said = capsys.readouterr().out  # with lines of the bench's own broker
    told = json.loads(said[said.index("{\n") :])
    events = await bench.events()
    decided = Counter(event.effect for event in events if isinstance(event, CallDecided))
    answers = Counter(event.verdict for event in events if isinstance(event, Reviewed))
    opened = sum(isinstance(event, Opened) for event in events)
    sums = {name: sum(day[name] for day in told["days"]) for name in ("allowed", "denied", "asked", "approved", "rejected")}
    assert sums == {
        "allowed": decided["allow"], "denied": decided["deny"], "asked": opened, "approved": answers["approve"],
        "rejected": answers["reject"],
    }  # fmt: skip
    assert [(wait["group"], wait["decisions"]) for wait in told["waits"]] == [("approvers", sum(answers.values()))]


async def test_the_servers_and_tools_that_are_counted_are_those_of_the_registry(bench: Bench) -> None:
    stats = (await bench.api(SAM, "GET", "/api/v1/stats")).json()
    offered = [len(await toy.server.list_tools()) for toy in bench.toys.values()]
    assert stats == {"servers": len(offered), "tools": sum(offered), "lifecycles": {"declared": 3}} | {"servers": 3, "tools": 9}
    async with bench.visitor(SAM) as page:
        assert "3 servers" in (await page.get("/servers")).text


# -- the north star -------------------------------------------------------------------------------------------


def called(at: datetime, who: Caller, tool: str) -> CallDecided:
    return CallDecided(at=at, caller=who, server="presto", tool=tool, digest="d", effect="allow", policy="p")


async def kept(bench: Bench, month: str, fleet: dict[str, Server], calls: list[CallDecided]) -> Usage:
    """Count calls as a broker does, in the bench's own store."""
    book = UsageBook()
    book.serving(fleet.get)
    for one in calls:
        book.observe(one, None)
    await book.flush(bench.broker.store.usage)
    return await bench.broker.store.usage.month(month)


async def test_time_saved_is_calls_times_minutes_at_the_time_and_a_new_estimate_leaves_last_month_alone(bench: Bench) -> None:
    fleet = {"presto": Server("presto", tools={"six": ToolFacts(minutes_saved=6), "two": ToolFacts(minutes_saved=2)})}
    march, april = datetime(2025, 3, 10, tzinfo=UTC), datetime(2025, 4, 10, tzinfo=UTC)
    ann = Caller(user=ANN)
    found = await kept(bench, "2025-03", fleet, [called(march, ann, "six")] * 100 + [called(march, ann, "two")] * 50)
    assert (found.calls, round(found.minutes / 60, 1)) == (150, 11.7)
    fleet["presto"] = Server("presto", tools={"six": ToolFacts(minutes_saved=60)})
    later = await kept(bench, "2025-04", fleet, [called(april, ann, "six")])
    assert later.minutes == 60
    assert (await used(bench, "2025-03"))["servers"][0]["minutes"] == 700


async def test_what_was_saved_is_shown_rounded_and_as_a_direction(bench: Bench) -> None:
    fleet = {"presto": Server("presto", tools={"x": ToolFacts(minutes_saved=6.36)})}
    await kept(bench, "2025-05", fleet, [called(datetime(2025, 5, 3, tzinfo=UTC), Caller(user=ANN), "x")] * 1_000)
    async with bench.visitor(SAM) as page:
        text = " ".join(re.sub(r"<[^>]+>", " ", (await page.get("/insights?month=2025-05")).text).split())
    assert "hours saved, about 106" in text  # of 106 hours exactly
    assert "times the calls that succeeded: a direction, not a measurement" in text
    assert (await used(bench, "2025-05"))["hours_saved"] == 106


async def test_three_people_and_a_service_at_the_edge_of_a_month_are_three_people(bench: Bench) -> None:
    edge = datetime(2025, 7, 1, tzinfo=UTC)
    inside, outside = edge - timedelta(microseconds=1), edge
    people = [Caller(user=f"{name}@example.com") for name in ("ann", "fin", "eve")]
    service = Caller(workload="spiffe://example.com/nightly-report")
    calls = [called(inside, who, "x") for who in (*people, people[0], service)]
    late = called(outside, Caller(user="late@example.com"), "x")
    assert (await kept(bench, "2025-06", {}, [*calls, late])).people == 3
    assert (await used(bench, "2025-06"))["people"] == 3
    assert date.fromisoformat(next(iter((await used(bench, "2025-07"))["days"]))) == date(2025, 7, 1)
