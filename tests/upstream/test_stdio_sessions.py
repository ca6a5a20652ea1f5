"""Sessions with a process of their own, and releases of stored calls through the session that they came from."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import msgspec
import pytest

from broker.domain.requests import Origin
from broker.domain.servers import Server
from broker.errors import OutcomeLost, UpstreamUntouched
from broker.upstream import own
from tests.fakes.stdio_bench import ROOT, Bench, approved, events, lines, stdio_bench, text_of, tools_server

NEWER = Origin(era="2026-07-28", rpc_id="n")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def effects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("effects") / "own"


@pytest.fixture(scope="module")
async def bench(effects: Path) -> AsyncIterator[Bench]:
    """`own` gives each session a process; so does `kept`, whose server keeps nothing in it; `newer` knows no sessions."""
    servers = (
        tools_server("own", effects=effects, per_session=True),
        tools_server("kept", per_session=True, stateless=True),
        tools_server("newer", speaks="newer", per_session=True),
        Server(name="raw", command=(sys.executable, f"{ROOT}/tests/fakes/stdio_raw.py"), per_session=True),
    )
    async with stdio_bench(*servers) as running:
        yield running


async def execute(bench: Bench, server: str, tool: str, origin: Origin, **arguments: Any) -> tuple[Any, list[Any]]:
    """Return the answer's member, and what was relayed before it."""
    relayed: list[bytes] = []
    answer = await bench.forwarder.execute(approved(server, tool, arguments, origin), relayed.append)
    return msgspec.json.decode(answer), [msgspec.json.decode(message) for message in relayed]


async def test_each_session_has_a_process_that_ends_with_it(bench: Bench) -> None:
    first, second = await bench.session("own"), await bench.session("own")
    pids = [text_of(await bench.call("own", session, "pid")) for session in (first, second, first)]
    assert pids[0] == pids[2] != pids[1]
    async with bench.http.delete(bench.address + "own", headers={"mcp-session-id": first}) as ended:
        assert ended.status == 200
    assert (await bench.post("own", {"id": 2, "method": "ping"}, first)).status == 404
    assert text_of(await bench.call("own", second, "pid")) == pids[1]
    with anyio.fail_after(10), suppress(ProcessLookupError):
        while True:
            os.killpg(int(pids[0]), 0)
            await anyio.sleep(0.01)


async def test_a_session_ends_with_its_process_and_no_other_does(bench: Bench) -> None:
    first, second = await bench.session("own"), await bench.session("own")
    died = await bench.post("own", {"id": 1, "method": "tools/call", "params": {"name": "die"}}, first)
    assert (died.status, died.text) == (502, "own ended while the call ran: whether it took effect is unknown")
    assert (await bench.post("own", {"id": 2, "method": "ping"}, first)).status == 404
    assert text_of(await bench.call("own", second, "echo", text="on")) == "on"


async def test_the_server_asks_the_client_of_the_session_and_log_messages_come_before_the_answer(bench: Bench) -> None:
    told: list[str] = []

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        told.append(f"log {params.data}")

    async def answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        told.append(f"asked {params.message}")
        return types.ElicitResult(action="accept", content={"name": "ann"})

    async with bench.client("own", "legacy", elicitation_callback=answer, logging_callback=log) as client:
        told.append(text_of(await client.call_tool("ask", {"text": "who?"})))
        told.append(text_of(await client.call_tool("say", {"text": "hello"})))
    assert told == ["asked who?", "accept: ann", "log hello", "hello"]


async def test_what_is_said_during_a_call_comes_with_it_and_what_is_said_later_waits_for_the_stream(bench: Bench) -> None:
    session = await bench.session("own")
    reply = await bench.post("own", {"id": 1, "method": "tools/call", "params": {"name": "change"}}, session)
    assert [message["method"] for message in reply.messages if "method" in message] == [
        "notifications/tools/list_changed",
        "notifications/resources/updated",
    ]
    session = await bench.session("raw")
    assert text_of(await bench.call("raw", session, "after", text="said later")) == "said later"
    with anyio.fail_after(5):
        async with bench.http.get(bench.address + "raw", headers={"mcp-session-id": session}) as stream:
            assert (await anext(events(stream)))["params"] == {"data": "said later"}


async def test_callers_without_sessions_share_one_process(bench: Bench) -> None:
    async with bench.client("own") as first, bench.client("own") as second:
        assert text_of(await first.call_tool("pid", {})) == text_of(await second.call_tool("pid", {}))


async def test_a_server_without_sessions_serves_older_clients_all_the_same(bench: Bench) -> None:
    async with bench.client("newer", "legacy") as client:
        assert text_of(await client.call_tool("echo", {"text": "hello"})) == "hello"


async def test_there_are_only_so_many_sessions_and_unused_ones_make_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "MOST", 1)
    monkeypatch.setattr(own, "IDLE", 3600.0)
    session = await bench.session("kept")
    reply = await bench.post("kept", {"id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}})
    assert (reply.status, reply.text) == (502, "kept has 1 sessions, and takes no more")
    monkeypatch.setattr(own, "IDLE", 0.0)
    assert await bench.session("kept") != session
    assert (await bench.post("kept", {"id": 2, "method": "ping"}, session)).status == 404


async def test_a_release_goes_through_the_callers_own_session(bench: Bench) -> None:
    session = await bench.session("own")
    origin = Origin(era="2025-11-25", session=session, rpc_id=0)
    pid = text_of(await bench.call("own", session, "pid"))
    answer, _ = await execute(bench, "own", "pid", origin)
    assert text_of(answer) == pid
    _, relayed = await execute(bench, "own", "steps", origin, n=2)
    assert [message["params"] for message in relayed] == [
        {"progressToken": "r1", "progress": 1, "total": 2, "message": "step 1"},
        {"progressToken": "r1", "progress": 2, "total": 2, "message": "step 2"},
    ]


async def test_a_release_whose_session_is_gone_leaves_the_server_untouched(bench: Bench, effects: Path) -> None:
    origin = Origin(era="2025-11-25", session="own.gone", rpc_id=1)
    with pytest.raises(UpstreamUntouched, match="session with the server is gone"):
        await execute(bench, "own", "effect", origin, text="never")
    answer, _ = await execute(bench, "kept", "echo", origin, text="kept keeps nothing in a session")
    assert text_of(answer) == "kept keeps nothing in a session"
    assert "never" not in await lines(effects)


@pytest.mark.parametrize("server", ["own", "newer"])
async def test_a_release_declares_no_capability_so_that_nobody_is_asked_in_it(bench: Bench, server: str) -> None:
    answer, _ = await execute(bench, server, "round", NEWER, text="who?")
    assert "answered the approved call with `input_required`" in answer["error"]["message"]


async def test_a_release_for_an_older_caller_of_a_newer_server_reads_like_the_older_era(bench: Bench) -> None:
    origin = Origin(era="2025-11-25", session=await bench.session("newer"), rpc_id=1)
    answer, relayed = await execute(bench, "newer", "steps", origin, n=1, text="done")
    assert answer == {"result": {"content": [{"type": "text", "text": "done"}], "isError": False}}
    assert len(relayed) == 1


async def test_a_release_that_kills_its_server_is_lost(bench: Bench) -> None:
    with pytest.raises(OutcomeLost):
        await execute(bench, "own", "die", NEWER)


async def test_a_session_that_ends_takes_its_calls_with_it(bench: Bench, effects: Path) -> None:
    session = await bench.session("own")
    replies: list[Any] = []

    async def hang() -> None:
        params = {"name": "hang", "arguments": {"text": "ending"}}
        replies.append(await bench.post("own", {"id": 1, "method": "tools/call", "params": params}, session))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang)
        await lines(effects, "hangs ending")
        async with bench.http.delete(bench.address + "own", headers={"mcp-session-id": session}):
            pass
    assert [(reply.answer, reply.status) for reply in replies] in ([(None, 502)], [(None, 200)])
