"""stdio servers for callers of both eras: what goes through is what the server says, and nobody hears another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.fakes.everything import answer_ann, everything
from tests.fakes.stdio_bench import HANDSHAKE, ROOT, Bench, events, lines, stdio_bench, text_of, tools_server


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def effects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("effects") / "older"


@pytest.fixture(scope="module")
async def bench(effects: Path) -> AsyncIterator[Bench]:
    """Servers of each kind, each shared by its callers."""
    older = tools_server("older", speaks="older", effects=effects)
    async with stdio_bench(tools_server("both"), older, tools_server("newer", speaks="newer")) as running:
        yield running


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("server", ["both", "older", "newer"])
async def test_lists_and_results_are_what_the_server_says_directly(bench: Bench, server: str, mode: str) -> None:
    command = bench.catalogue[server].command
    direct_mode = "auto" if server == "newer" else mode
    parameters = StdioServerParameters(command=command[0], args=list(command[1:]), cwd=ROOT)
    async with Client(parameters, mode=direct_mode) as direct, bench.client(server, mode) as client:
        assert await everything(client) == await everything(direct)
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("server", ["both", "older", "newer"])
async def test_progress_comes_back_under_the_callers_own_token(bench: Bench, server: str, mode: str) -> None:
    told: dict[str, list[float]] = {"first": [], "second": []}

    async def call(name: str) -> None:
        async def progress(value: float, total: float | None, message: str | None) -> None:
            told[name].append(value)

        async with bench.client(server, mode) as client:
            await client.call_tool("steps", {"n": 5}, progress_callback=progress)

    async with anyio.create_task_group() as tasks:  # both begin with the same JSON-RPC ids and tokens
        for name in told:
            tasks.start_soon(call, name)
    assert told == {"first": [1, 2, 3, 4, 5], "second": [1, 2, 3, 4, 5]}


async def test_callers_with_the_same_ids_get_their_own_answers(bench: Bench) -> None:
    sessions = [await bench.session("older") for _ in range(4)]
    answers: dict[int, list[Any]] = {}

    async def calls(caller: int) -> None:
        answers[caller] = [await bench.call("older", sessions[caller], "echo", number, text=f"{caller}") for number in range(20)]

    async with anyio.create_task_group() as tasks:
        for caller in range(4):
            tasks.start_soon(calls, caller)
    for caller in range(4):
        assert [(answer["id"], text_of(answer)) for answer in answers[caller]] == [(number, str(caller)) for number in range(20)]


async def test_an_older_client_cancels_its_own_call_and_no_other(bench: Bench, effects: Path) -> None:
    mine, other = await bench.session("older"), await bench.session("older")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.call, "older", mine, "hang", "same")
        tasks.start_soon(lambda: bench.call("older", other, "hang", "same", text="other"))
        await lines(effects, "hangs ", "hangs other")
        cancel = {"method": "notifications/cancelled", "params": {"requestId": "same"}}
        assert (await bench.post("older", cancel, mine)).status == 202
        assert "cancelled other" not in await lines(effects, "cancelled ")
        assert (await bench.post("older", cancel, other)).status == 202
        await lines(effects, "cancelled other")


async def test_a_newer_client_cancels_by_leaving(bench: Bench, effects: Path) -> None:
    with anyio.move_on_after(5) as leaving:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: bench.newer("older", "hang", text="left"))
            await lines(effects, "hangs left")
            leaving.cancel()
    await lines(effects, "cancelled left")


@pytest.mark.parametrize("server", ["both", "newer"])
async def test_a_newer_server_asks_a_newer_client_by_rounds(bench: Bench, server: str) -> None:
    async with bench.client(server, elicitation_callback=answer_ann) as client:
        assert text_of(await client.call_tool("round", {"text": "who?"})) == "accept: ann"


async def test_a_newer_servers_rounds_become_questions_to_an_older_client(bench: Bench) -> None:
    async with bench.client("newer", "legacy", elicitation_callback=answer_ann) as client:
        assert text_of(await client.call_tool("round", {"text": "who?"})) == "accept: ann"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_in_a_shared_process_the_server_can_ask_nobody(bench: Bench, mode: str) -> None:
    async with bench.client("older", mode, elicitation_callback=answer_ann) as client:
        with pytest.raises(Exception, match="Method not found"):
            await client.call_tool("ask", {"text": "who?"})


@pytest.mark.parametrize("server", ["older", "newer"])
async def test_changes_reach_an_older_session_that_listens(bench: Bench, server: str) -> None:
    session = await bench.session(server)
    await bench.post(server, {"id": 1, "method": "resources/subscribe", "params": {"uri": "memo://one"}}, session)
    heard: set[str] = set()
    async with bench.http.get(bench.address + server, headers={"mcp-session-id": session}) as stream:
        with anyio.fail_after(10):
            while not {"notifications/tools/list_changed", "notifications/resources/updated"} <= heard:
                await bench.call(server, session, "change")
                async for message in events(stream):
                    assert "_meta" not in message.get("params", {})
                    heard.add(message["method"])
                    if message["method"] == "notifications/resources/updated":
                        break


@pytest.mark.parametrize("server", ["both", "older"])
async def test_changes_reach_a_newer_client_that_listens(bench: Bench, server: str) -> None:
    async with bench.client(server) as client, client.listen(tools_list_changed=True) as changes:
        await client.call_tool("change", {})
        with anyio.fail_after(10):
            assert type(await anext(aiter(changes))).__name__ == "ToolsListChanged"


async def test_a_resource_is_subscribed_to_once_for_all_and_left_with_the_last(bench: Bench, effects: Path) -> None:
    first, second = await bench.session("older"), await bench.session("older")
    for method, sessions in (("resources/subscribe", (first, second)), ("resources/unsubscribe", (first, second))):
        for session in sessions:
            params = {"uri": "memo://many"}
            assert ((await bench.post("older", {"id": 1, "method": method, "params": params}, session)).answer)["result"] == {}
    noted = [line for line in await lines(effects, "unsubscribe memo://many") if line.endswith("memo://many")]
    assert noted == ["subscribe memo://many", "unsubscribe memo://many"]


async def test_an_older_version_is_granted_and_log_levels_are_not_offered_in_a_shared_process(bench: Bench) -> None:
    asked = {**HANDSHAKE, "protocolVersion": "2025-03-26"}
    response = await bench.post("older", {"id": 0, "method": "initialize", "params": asked})
    answer = response.answer
    assert answer["result"]["protocolVersion"] == "2025-03-26"
    assert "logging" not in answer["result"]["capabilities"]
    level = {"id": 1, "method": "logging/setLevel", "params": {"level": "debug"}}
    refused = (await bench.post("older", level, response.headers["mcp-session-id"])).answer
    assert refused["error"]["code"] == -32601


@pytest.mark.parametrize(("session", "status"), [("", 400), ("shared", 404), ("own.never", 404)])
async def test_a_session_that_is_not_there_is_refused(bench: Bench, session: str, status: int) -> None:
    response = await bench.post("older", {"id": 1, "method": "tools/list"}, session)
    assert response.status == status
    assert response.answer["error"]["message"] == "Session not found"
    for verb in ("GET", "DELETE"):
        headers = {"mcp-session-id": session} if session else {}
        async with bench.http.request(verb, bench.address + "older", headers=headers) as refused:
            assert refused.status == status
