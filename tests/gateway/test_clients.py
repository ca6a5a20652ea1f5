"""How long a call is held depends on the client that makes it: no longer than its own timer lasts."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.calls import Caller
from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Verdict
from broker.gateway.clients import KNOWN, hold_of
from tests.gateway.rig import CALLERS, Policies, Rig
from tests.gateway.wire import ACCEPT, events, legacy, modern, post, request

MOVE = {"name": "transfer", "arguments": {"to": "ada", "amount": 40}}
CLIENT = "io.modelcontextprotocol/clientInfo"

HOLDS = [
    ("claude-code", False, 240),
    ("claude-code", True, 600),
    ("claude-ai", True, 50),
    ("Visual Studio Code", True, 240),
    ("Visual Studio Code - Insiders", False, 240),
    ("cursor-vscode", True, 50),
    ("codex-mcp-client", False, 50),
    ("gemini-cli-mcp-client-payments", True, 50),
    ("Visual-Studio-Code", True, 240),
    ("claude-ai (via mcp-remote 0.1.37)", False, 50),
    ("mcp", False, 4),
    ("mcp", True, 4),
    ("mcp-inspector", True, 7),
    ("not-cursor", False, 7),
    ("", False, 7),
]


@pytest.mark.parametrize(("client", "progress", "seconds"), HOLDS)
def test_a_known_client_is_held_as_long_as_it_waits_and_others_as_set(client: str, progress: bool, seconds: float) -> None:
    assert hold_of(client, progress=progress, usual=7) == seconds


def test_every_known_client_is_found_by_its_name() -> None:
    assert all(hold_of(name, progress=False, usual=-1) == known.quiet for name, known in KNOWN.items())


def result_of(response: httpx2.Response) -> dict[str, Any]:
    streamed = "event-stream" in response.headers["content-type"]
    return dict((events(response.text)[-1] if streamed else response.json())["result"])


async def test_the_name_comes_with_each_request_of_the_newer_revision(
    store: Any, policies: Policies, http: httpx2.AsyncClient
) -> None:
    async with Rig(store, policies, hold=0.0).running() as rig:
        pending = await post(http, rig.mcp(), modern("tools/call", MOVE, **{CLIENT: {"name": "unheard-of", "version": "1"}}))
        assert result_of(pending)["_meta"]["approval-broker/code"] == "pending"
        async with anyio.create_task_group() as people:
            people.start_soon(rig.approve)
            named = await post(http, rig.mcp(), modern("tools/call", MOVE, **{CLIENT: {"name": "cursor-vscode", "version": "1"}}))
        assert result_of(named)["content"][0]["text"] == "moved 40 to ada"


async def test_the_name_that_began_a_session_counts_for_its_calls(
    store: Any, policies: Policies, http: httpx2.AsyncClient
) -> None:
    async with Rig(store, policies, hold=0.0).running() as rig:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "codex-mcp-client", "version": "1"}}
        began = await http.post(rig.mcp(), json=request("initialize", hello, id=0), headers=ACCEPT)
        session = began.headers["mcp-session-id"]
        await legacy(http, rig.mcp(), {"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
        async with anyio.create_task_group() as people:
            people.start_soon(rig.approve)
            response = await legacy(http, rig.mcp(), request("tools/call", MOVE), session)
        assert result_of(response)["content"][0]["text"] == "moved 40 to ada"


async def only(rig: Rig) -> ApprovalRequest:
    [request] = await rig.asked()
    return request


async def test_a_credential_that_says_how_long_its_calls_are_held_counts_before_any_name(
    store: Any, policies: Policies, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CALLERS, "patient", Caller(agent="patient-bot", hold=20.0))
    monkeypatch.setitem(CALLERS, "hasty", Caller(agent="hasty-bot", hold=0.01))
    async with Rig(store, policies, hold=0.0).running() as rig:
        named = modern("tools/call", MOVE, **{CLIENT: {"name": "cursor-vscode", "version": "1"}})
        pending = await post(http, rig.mcp(), named, authorization="Bearer hasty")
        assert result_of(pending)["_meta"]["approval-broker/code"] == "pending"
        await rig.review(await only(rig), Verdict.REJECT)
        async with anyio.create_task_group() as people:
            people.start_soon(rig.approve)
            shared = modern("tools/call", MOVE, **{CLIENT: {"name": "mcp", "version": "1"}})
            response = await post(http, rig.mcp(), shared, authorization="Bearer patient")
        assert result_of(response)["content"][0]["text"] == "moved 40 to ada"


async def test_the_waiting_tool_waits_no_longer_than_its_client(store: Any, policies: Policies, http: httpx2.AsyncClient) -> None:
    async with Rig(store, policies, hold=0.0).running() as rig:
        first = result_of(await post(http, rig.mcp(), modern("tools/call", MOVE)))
        asked = {"name": "approval_wait", "arguments": {"request_id": first["_meta"]["approval-broker/request"]}}
        with anyio.fail_after(5):
            waited = await post(http, rig.mcp(), modern("tools/call", asked))
        assert result_of(waited)["_meta"]["approval-broker/code"] == "pending"
