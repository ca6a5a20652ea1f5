"""The road from agents to servers: nothing is lost on it, and it is the only one."""

from __future__ import annotations

import statistics
import time
from typing import Any

import anyio
import httpx2
from mcp import Client

from tests.company.bench import Bench
from tests.company.enrolling import another, enrolled, until_listed
from tests.company.files import AIRFLOW, ANN, EVE, FIN
from tests.gateway.wire import call, post

# Milliseconds that an ungated call may take longer through the broker, for all but one in twenty.
BUDGET = 15.0
UNGATED: dict[str, tuple[str, dict[str, Any]]] = {
    "presto": ("list_tables", {}),
    "spark": ("record_rca", {"job": "nightly", "cause": "disk"}),
    "knowledge": ("search", {"question": "who owns it?"}),
}


async def everything(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a client sees of a server: lists, a result, the progress on the way, a resource and a prompt."""
    heard: list[tuple[float, float | None, str | None]] = []

    async def progress(now: float, total: float | None, message: str | None) -> None:
        heard.append((now, total, message))

    answer = await client.call_tool(tool, arguments, progress_callback=progress)
    tools = [one.model_dump(exclude={"meta"}) for one in (await client.list_tools()).tools if one.name != "approval_wait"]
    resources = (await client.list_resources()).resources
    prompts = (await client.list_prompts()).prompts
    read = [(await client.read_resource(one.uri)).contents for one in resources]
    told = [(await client.get_prompt(one.name, {"word": "MCP"})).messages for one in prompts]
    return {
        "tools": tools, "resources": resources, "prompts": prompts, "read": read, "told": told, "heard": heard,
        "answer": (answer.content, answer.structured_content, answer.is_error),
    }  # fmt: skip


async def test_every_server_is_the_same_directly_and_through_the_broker_for_calls_that_nobody_gates(
    bench: Bench, mode: str
) -> None:
    token = bench.token(surface="support-bot", conversation=AIRFLOW)
    for server, asked in UNGATED.items():
        async with bench.direct(server, mode) as direct, bench.client(token, server, mode) as through:
            assert await everything(through, *asked) == await everything(direct, *asked)


async def test_one_entry_of_a_client_reaches_three_servers_and_a_fourth_that_is_registered_later(bench: Bench, mode: str) -> None:
    token, name = bench.token(surface="support-bot", conversation=AIRFLOW), f"team-{mode}"
    async with bench.client(token, mode=mode) as client, another(bench, name) as fourth:

        async def servers() -> set[str]:
            return {tool.name.partition("__")[0] for tool in (await client.list_tools()).tools if "__" in tool.name}

        assert {"presto", "spark", "knowledge"} <= await servers()
        assert name not in await servers()
        await enrolled(bench, fourth)
        with anyio.fail_after(10):
            while name not in await servers():  # noqa: ASYNC110 - a list has no event
                await anyio.sleep(0.05)
        assert not (await client.call_tool(f"{name}__search", {"question": "new?"})).is_error
    assert fourth.count("search", question="new?") == 1


async def test_a_server_lets_nobody_in_but_the_broker(bench: Bench) -> None:
    presto = bench.toys["presto"]
    before = presto.ran
    for token in (bench.token(), "guessed"):
        head = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
        assert (await bench.http.post(presto.url, json=call("list_tables"), headers=head)).status_code == 401
    assert presto.ran == before
    assert (await bench.call(bench.token(), "presto", "list_tables")).json()["result"]["isError"] is False
    assert presto.ran == [*before, {"tool": "list_tables"}]


async def test_an_ungated_call_through_the_broker_stays_within_its_budget(bench: Bench) -> None:
    """In CPU time of everybody, client and server included: what else the machine does is no fault of the road."""
    ask, token, url = {"question": "how long?"}, bench.token(), bench.toys["knowledge"].url

    async def took(send: Any) -> float:
        began = time.process_time()
        answer: httpx2.Response = await send()
        assert answer.json()["result"]["isError"] is False
        return (time.process_time() - began) * 1_000

    async def directly() -> httpx2.Response:
        return await post(bench.http, url, call("search", ask))

    async def through() -> httpx2.Response:
        return await bench.call(token, "knowledge", "search", ask)

    added = []
    for _ in range(2):
        pairs = [(await took(directly), await took(through)) for _ in range(25)]
        slow = statistics.quantiles([ours for _, ours in pairs], n=20)[-1]
        added.append(slow - statistics.median(theirs for theirs, _ in pairs))
    assert min(added) < BUDGET


async def test_two_servers_with_a_tool_of_one_name_are_each_judged_by_their_own_policy(bench: Bench) -> None:
    token = bench.token(surface="support-bot", conversation="C0ELSEWHERE")
    assert (await bench.call(token, "presto", "status")).json()["result"]["isError"] is False
    before = bench.toys["spark"].count("status")
    answer = await bench.approved("Spark's status", lambda: bench.call(token, "spark", "status"))
    assert answer.json()["result"]["_meta"]["approval-broker/code"] == "released"
    assert bench.toys["spark"].count("status") == before + 1


async def test_who_may_use_less_is_listed_less_and_a_metric_tells_how_large_lists_are(bench: Bench) -> None:
    eve, fin, ann = [await bench.listed(bench.token(who)) for who in (EVE, FIN, ANN)]
    assert eve < fin < ann
    await bench.listed(bench.token(EVE), "knowledge")
    scraped = (await bench.http.get(f"{bench.url}/metrics")).text
    sizes = dict(line.rsplit(" ", 1) for line in scraped.splitlines() if line.startswith("approval_broker_tools_list_bytes"))
    assert float(sizes['approval_broker_tools_list_bytes_sum{server="knowledge"}']) > 100
    assert float(sizes['approval_broker_tools_list_bytes_count{server="knowledge"}']) >= 1


async def test_a_new_server_of_the_registry_is_used_without_a_restart_and_a_new_address_too(bench: Bench) -> None:
    """What is published is what calls follow: there is no second list of addresses."""
    ann = bench.token()
    async with another(bench, "team-moving") as first:
        await enrolled(bench, first)
        await until_listed(bench, ann, "team-moving")
        await bench.call(ann, "team-moving", "search", {"question": "before"})
        async with another(bench, "team-moving") as second:
            assert second.url != first.url
            await enrolled(bench, second, version="1.1.0")
            with anyio.fail_after(10):
                while second.heads == [] or not second.count("search", question="after"):
                    await bench.call(ann, "team-moving", "search", {"question": "after"})
            first.heads.clear()
            await bench.call(ann, "team-moving", "search", {"question": "and on"})
            assert first.heads == []
