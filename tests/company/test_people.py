"""People in the loop: what is sensitive or expensive waits for them, runs once as they saw it, or not at all."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from mcp.types import ElicitResult

from broker.domain.events import Reviewed
from tests.company.bench import CLIENT, Bench
from tests.company.files import ANN, FIN, RULES, SAM
from tests.gateway.wire import events
from tests.journeys.people import Person

SECRET = "ghp_" + "a1B2" * 9


def wrote(bench: Bench, table: str) -> int:
    """How often a table was overwritten, whatever with."""
    return sum(one["tool"] == "overwrite_table" and one["table"] == table for one in bench.toys["presto"].ran)


def result(answer: Any) -> dict[str, Any]:
    told = answer.json() if "json" in answer.headers["content-type"] else events(answer.text)[-1]
    return dict(told["result"])


class Calls:
    """Calls of one agent that are under way, and the answers that have come."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.answers: list[dict[str, Any]] = []

    async def overwrite(self, table: str, rows: int = 1, who: str = ANN, **more: Any) -> None:
        arguments = {"table": table, "rows": rows, **more}
        token = self.bench.token(who, groups=["finance" if who == FIN else "ads-eng"])
        self.answers.append(result(await self.bench.call(token, "presto", "overwrite_table", arguments)))

    @property
    def codes(self) -> list[str]:
        return sorted(one["_meta"]["approval-broker/code"] for one in self.answers)


async def test_an_agent_that_ignores_all_guidance_overwrites_nothing_before_somebody_has_agreed(bench: Bench) -> None:
    calls, token = Calls(bench), bench.token()
    async with bench.person() as sam, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(calls.overwrite, "stubborn")
        one = await sam.titled("Overwrite stubborn")
        for tool, arguments in (
            ("approval_wait", {"request_id": one["id"], "wait_seconds": 0.1}),
            ("approve", {"id": one["id"]}),
        ):
            await bench.call(token, "presto", tool, arguments)
        assert wrote(bench, "stubborn") == 0
        assert (calls.answers, len([held for held in await sam.listed("pending") if held["title"] == one["title"]])) == ([], 1)
        await sam.approve(one)
    assert (wrote(bench, "stubborn"), calls.codes) == (1, ["released"] * 5)


LIMIT = {99.5: "allow", 100: "allow", 100.5: "needs_approval", 4_000: "needs_approval"}


@pytest.mark.parametrize(("gigabytes", "fate"), LIMIT.items())
async def test_an_expensive_query_asks_and_a_cheap_one_passes(bench: Bench, gigabytes: float, fate: str) -> None:
    sql = f"select {gigabytes}"
    assert await bench.fate(bench.token(), "presto", "run_query", {"sql": sql, "estimated_gb": gigabytes}) == fate
    assert bench.toys["presto"].count("run_query", sql=sql, estimated_gb=gigabytes) == (1 if fate == "allow" else 0)


async def test_an_approved_call_runs_once_with_identical_arguments_and_a_rejected_one_never_and_says_why(bench: Bench) -> None:
    calls = Calls(bench)
    async with bench.person() as sam, anyio.create_task_group() as tasks:
        tasks.start_soon(calls.overwrite, "exact", 31_337)
        await sam.approve(await sam.titled("Overwrite exact"))
    assert bench.toys["presto"].count("overwrite_table", table="exact", rows=31_337, note="") == wrote(bench, "exact") == 1
    async with bench.person() as sam, anyio.create_task_group() as tasks:
        tasks.start_soon(calls.overwrite, "never")
        await sam.reject(await sam.titled("Overwrite never"), "the backup runs tonight")
    assert (wrote(bench, "never"), calls.codes) == (0, ["rejected", "released"])
    assert "the backup runs tonight" in str(calls.answers[-1]["content"])


async def test_two_approvers_and_many_clicks_run_a_call_once(bench: Bench) -> None:
    calls = Calls(bench)
    async with (
        bench.person() as sam, bench.person("kim@example.com") as kim, anyio.create_task_group() as tasks,
    ):  # fmt: skip
        tasks.start_soon(calls.overwrite, "twice")
        one = await sam.titled("Overwrite twice")
        async with anyio.create_task_group() as clicks:
            for who in (sam, kim, sam, kim):
                clicks.start_soon(who.review, one, "approve")
    assert (wrote(bench, "twice"), calls.codes) == (1, ["released"])


async def test_other_arguments_on_a_retry_are_another_request(bench: Bench) -> None:
    calls = Calls(bench)
    async with bench.person() as sam, anyio.create_task_group() as tasks:
        tasks.start_soon(calls.overwrite, "retry", 1)
        first = await sam.titled("Overwrite retry")
        tasks.start_soon(calls.overwrite, "retry", 2)
        with anyio.fail_after(20):
            while len(held := [one for one in await sam.listed("pending") if one["title"] == "Overwrite retry"]) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        assert len({one["digest"] for one in held}) == 2
        await sam.approve(first)
        await sam.reject(next(one for one in held if one["id"] != first["id"]), "not this one")
    assert bench.toys["presto"].count("overwrite_table", table="retry", rows=1, note="") == wrote(bench, "retry") == 1
    assert calls.codes == ["rejected", "released"]


CONFIRMED = RULES.replace("timeout: 15m, show:", "timeout: 15m, caller: true, show:")


async def test_a_client_that_can_not_ask_its_user_waits_for_the_approvers(bench: Bench, mode: str) -> None:
    table = f"unasked-{mode}"
    async with (
        bench.changed(rules=CONFIRMED),
        bench.client(bench.token(), "presto", mode, client_info=bench.me) as client,
        bench.person() as sam,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.call_tool, "overwrite_table", {"table": table, "rows": 1})
        await bench.card(f"Overwrite {table}")
        assert wrote(bench, table) == 0
        await sam.reject(await sam.titled(f"Overwrite {table}"), "no")
    assert wrote(bench, table) == 0


@pytest.mark.parametrize(
    ("action", "runs", "code"), [("accept", 1, "released"), ("decline", 0, "rejected"), ("cancel", 0, "rejected")]
)
async def test_the_callers_own_user_confirms_declines_or_cancels_in_the_client(
    bench: Bench, mode: str, action: Any, runs: int, code: str
) -> None:
    async def asked(context: Any, params: Any) -> ElicitResult:
        shown.append(params.message)
        return ElicitResult(action=action, content={"confirm": True} if action == "accept" else None)

    shown: list[str] = []
    table = f"confirm-{mode}-{action}"
    async with (
        bench.changed(rules=CONFIRMED),
        bench.client(bench.token(), "presto", mode, client_info=bench.me, elicitation_callback=asked) as client,
    ):
        answer = await client.call_tool("overwrite_table", {"table": table, "rows": 1})
    assert (len(shown), table in shown[0], wrote(bench, table)) == (1, True, runs)
    assert answer.meta["approval-broker/code"] == code


async def test_the_card_shows_table_rows_requester_agent_and_expiry_and_no_secret(bench: Bench) -> None:
    calls = Calls(bench)
    async with bench.person() as sam, anyio.create_task_group() as tasks:
        tasks.start_soon(calls.overwrite, "shown", 4_711, FIN)
        text = json.dumps(await bench.card("Overwrite shown"))
        for said in ("shown", "4711", FIN, CLIENT, "overwrite_table", "presto"):
            assert said in text, said
        assert '"type": "date"' in text, text
        await sam.reject(await sam.titled("Overwrite shown"), "seen")
    async with bench.person() as sam, anyio.create_task_group() as tasks:
        tasks.start_soon(calls.overwrite, "hidden", 1, ANN)
        await bench.card("Overwrite hidden")
        tasks.start_soon(_noted, calls, "long", f"{SECRET} " + "x" * 9_000)
        card = await bench.card("Overwrite long")
        text, one = json.dumps(card), await sam.titled("Overwrite long")
        assert SECRET not in text
        assert "x" * 3_000 not in text
        assert f"{bench.url}/r/{one['id']}" in text
        actions = [button["action_id"] for block in card["blocks"] if block["type"] == "actions" for button in block["elements"]]
        assert "approve" not in actions  # what can't be shown whole can't be approved there
        for title in ("Overwrite hidden", "Overwrite long"):
            await sam.reject(await sam.titled(title), "seen")


async def _noted(calls: Calls, table: str, note: str) -> None:
    await calls.overwrite(table, note=note)


async def test_who_asks_can_not_approve_it_and_neither_can_who_is_not_asked(bench: Bench) -> None:
    calls = Calls(bench)
    async with (
        bench.person() as sam,
        bench.person("kim@example.com") as kim,
        bench.person(FIN) as fin,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(calls.overwrite, "own", 1, SAM)
        own = await kim.titled("Overwrite own")
        for who, status in ((sam, 403), (fin, 404)):
            assert (await who.review(own, "approve")).status_code == status
        assert (wrote(bench, "own"), calls.answers) == (0, [])
        await kim.approve(own)
    assert (wrote(bench, "own"), calls.codes) == (1, ["released"])


async def test_of_ten_proposals_seven_are_approved_and_three_rejected_at_once_and_an_eleventh_waits(bench: Bench) -> None:
    calls, before = Calls(bench), await bench.mark()

    async def waiting(sam: Person, number: int) -> list[dict[str, Any]]:
        with anyio.fail_after(20):
            while True:
                found = [one for one in await sam.listed("pending") if one["title"].startswith("Overwrite batch-")]
                if len(found) == number:
                    return found
                await anyio.sleep(0.02)

    async with bench.person() as sam, anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(calls.overwrite, f"batch-{number}")
        ten = sorted(await waiting(sam, 10), key=lambda one: one["title"])
        tasks.start_soon(calls.overwrite, "batch-late")
        await waiting(sam, 11)
        verdicts = ["approve"] * 7 + ["reject"] * 3
        items = [
            {"request": one["id"], "digest": one["digest"], "version": one["version"], "verdict": verdict}
            for one, verdict in zip(ten, verdicts, strict=True)
        ]
        told = (await sam.http.post("/batches/reviews", json={"items": items, "reason": "too many"})).raise_for_status().json()
        assert [one["counted"] for one in told["items"]] == [True] * 10
        with anyio.fail_after(20):
            while len(calls.answers) < 10:  # noqa: ASYNC110 - answers come by themselves
                await anyio.sleep(0.02)
        [late] = await waiting(sam, 1)
        rows = [event for event in await bench.events(before) if isinstance(event, Reviewed)]
        assert [(row.request, row.batch) for row in rows] == [(one["request"], told["batch"]) for one in items]
        await sam.reject(late, "too late")
    assert [wrote(bench, f"batch-{number}") for number in range(10)] == [1] * 7 + [0] * 3
    assert calls.codes == ["rejected"] * 4 + ["released"] * 7
