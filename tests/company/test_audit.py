"""Who did what: every call with who made it, what was decided, by whom, and what became of it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from broker.domain.calls import ToolCall
from tests.company.bench import Bench
from tests.company.files import ANN, EVE, FIN, SAM


async def trail(bench: Bench, who: str = SAM, **asked: Any) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    answer = await bench.api(who, "GET", f"/api/v1/audit?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["calls"])


def digest(server: str, tool: str, arguments: dict[str, Any]) -> str:
    """What the arguments of a call are held by."""
    return ToolCall(server, tool, {"name": tool, "arguments": arguments}, caller=None).digest()  # type: ignore[arg-type]  # none counts


async def decided(bench: Bench, who: str, table: str, verdict: str) -> None:
    async with bench.person() as sam, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.call, bench.token(who), "presto", "overwrite_table", {"table": table, "rows": 1})
        one = await sam.titled(f"Overwrite {table}")
        await (sam.approve(one) if verdict == "approve" else sam.reject(one, "not today"))


async def test_after_twenty_mixed_calls_the_audit_of_one_user_is_exactly_hers(bench: Bench) -> None:
    tokens = {who: bench.token(who) for who in (ANN, FIN, EVE)}
    for number in range(4):
        for who in (ANN, FIN, EVE):
            await bench.call(tokens[who], "knowledge", "search", {"question": f"q{number}"})
    await bench.call(tokens[ANN], "presto", "status", {"broken": True})
    await bench.call(tokens[FIN], "presto", "get_revenue_metrics", {"quarter": "Q1"})
    await bench.call(tokens[ANN], "knowledge", "burn_down", {})
    for who, table, verdict in ((ANN, "hers", "approve"), (FIN, "his", "approve"), (ANN, "refused", "reject")):
        await decided(bench, who, table, verdict)
    await bench.call(tokens[FIN], "presto", "list_tables")
    await bench.call(tokens[EVE], "spark", "status")
    every = await trail(bench, limit=200)
    assert len(every) == 20
    hers = await trail(bench, user=ANN)
    assert hers == [call for call in every if call["user"] == ANN]
    kept = ("server", "tool", "digest", "effect", "outcome")
    told = [
        (*(call[name] for name in kept), [(one["person"], one["verdict"]) for one in call["answers"]]) for call in reversed(hers)
    ]
    asked = {"hers": [(SAM, "approve")], "refused": [(SAM, "reject")]}
    assert told == [
        *[
            ("knowledge", "search", digest("knowledge", "search", {"question": f"q{number}"}), "allow", "answered", [])
            for number in range(4)
        ],
        ("presto", "status", digest("presto", "status", {"broken": True}), "allow", "failed", []),
        ("knowledge", "burn_down", digest("knowledge", "burn_down", {}), "deny", "refused", []),
        *[
            ("presto", "overwrite_table", digest("presto", "overwrite_table", {"table": table, "rows": 1}), "require_approval",
             {"hers": "completed", "refused": "rejected"}[table], answers)
            for table, answers in asked.items()
        ],
    ]  # fmt: skip
    assert await trail(bench, ANN) == hers  # her own token finds the same
    assert (await bench.api(ANN, "GET", f"/api/v1/audit?user={FIN}")).status_code == 403
    [one] = await trail(bench, request=hers[0]["request"])
    assert (one["answers"][0]["reason"], one["rules"]) == ("not today", ["overwriting"])
    assert [call["tool"] for call in await trail(bench, user=FIN, server="presto", tool="list_tables")] == ["list_tables"]


async def test_the_trail_is_read_page_by_page(bench: Bench) -> None:
    every, before = await trail(bench, limit=200), 0
    paged: list[dict[str, Any]] = []
    while True:
        page = (await bench.api(SAM, "GET", f"/api/v1/audit?limit=7&before={before}")).json()
        paged += page["calls"]
        before = page["before"]
        if not before:
            break
    assert paged == every


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "before=-1", "before=x"])
async def test_a_page_that_makes_no_sense_is_refused(bench: Bench, query: str) -> None:
    assert (await bench.api(SAM, "GET", f"/api/v1/audit?{query}")).status_code == 400


async def test_nobody_reads_the_trail_without_a_persons_token(bench: Bench) -> None:
    for head in ({}, {"authorization": f"Bearer {bench.token()}"}):
        assert (await bench.http.get(f"{bench.url}/api/v1/audit", headers=head)).status_code == 401
