"""The broker's door: who gets in, to which server, and what is written down of those who do not."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.events import Noted
from tests.company.bench import Bench
from tests.company.files import ANN, EVE
from tests.gateway.wire import begun, call, legacy, modern, post, request


async def closed(bench: Bench, after: int) -> list[tuple[str, str]]:
    """Who found which server closed, since an event."""
    noted = [event for event in await bench.events(after) if isinstance(event, Noted) and event.what == "server.closed"]
    return [(event.who, event.fields["server"]) for event in noted]


async def test_a_call_to_an_unregistered_server_is_refused_runs_nothing_and_is_written_down(bench: Bench) -> None:
    before, ran = await bench.mark(), {name: toy.ran for name, toy in bench.toys.items()}
    answer = await bench.call(bench.token(), "payroll", "list_tables")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "there is no such server")
    joint = await bench.call(bench.token(), "", "payroll__list_tables")
    assert joint.json()["error"]["message"] == "there is nothing of this name: names here are SERVER__NAME"
    assert {name: toy.ran for name, toy in bench.toys.items()} == ran
    assert await closed(bench, before) == [(ANN, "payroll"), (ANN, "payroll__list_tables")]


async def test_an_agent_that_tries_without_an_end_fills_no_audit(bench: Bench) -> None:
    before, token = await bench.mark(), bench.token("mallory@example.com")
    for number in range(30):
        for _ in range(2):
            assert (await bench.call(token, f"guess-{number}", "x")).status_code == 404
    assert await closed(bench, before) == [("mallory@example.com", f"guess-{number}") for number in range(20)]


async def test_a_server_that_is_closed_to_a_group_is_closed_at_the_first_contact_and_that_is_written_down(
    bench: Bench,
) -> None:
    before, presto = await bench.mark(), bench.toys["presto"]
    presto.heads.clear()
    eve = {"authorization": f"Bearer {bench.token(EVE)}"}
    hello = request(
        "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    )
    for answer in (
        await legacy(bench.http, f"{bench.url}/mcp/presto", hello, **eve),
        await post(bench.http, f"{bench.url}/mcp/presto", modern("server/discover"), **eve),
        await post(bench.http, f"{bench.url}/mcp/presto", call("list_tables"), **eve),
    ):
        assert (answer.status_code, answer.json()["error"]["message"]) == (403, "the server is for members of ads-eng, finance")
    await bench.call(bench.token(), "presto", "list_tables")
    assert ANN in bench.spoken_for("presto")  # whoever gets through is seen there
    assert EVE not in bench.spoken_for("presto")
    assert await closed(bench, before) == [(EVE, "presto")]


PUBLIC, SHUT = "knowledge", "presto"


async def test_anybody_may_list_the_tools_of_a_server_whose_discovery_is_public_and_of_no_other(bench: Bench) -> None:
    url = f"{bench.url}/mcp/{PUBLIC}"
    listed = (await post(bench.http, url, modern("tools/list"))).json()["result"]["tools"]
    assert {tool["name"] for tool in listed} == {"search", "approval_wait"}
    assert (await post(bench.http, url, modern("server/discover"))).json()["result"]["supportedVersions"] == ["2026-07-28"]
    session = await begun(bench.http, url)
    older = await legacy(bench.http, url, request("tools/list", id=2), session)
    assert "search" in older.text
    assert (await bench.http.delete(url, headers={"mcp-session-id": session})).status_code == 200
    for server in (SHUT, "spark", "unheard", ""):
        refused = await bench.ask("", server, modern("tools/list"))
        assert (refused.status_code, "resource_metadata=" in refused.headers["www-authenticate"]) == (401, True)


REST: dict[str, dict[str, Any]] = {
    "tools/call": {"name": "search", "arguments": {"question": "anonymous"}}, "tasks/get": {"taskId": "x"},
    "resources/read": {"uri": "memo://handbook"}, "prompts/get": {"name": "explain"}, "prompts/list": {}, "resources/list": {},
    "subscriptions/listen": {}, "completion/complete": {},
}  # fmt: skip


@pytest.mark.parametrize("method", REST)
async def test_without_a_credential_nothing_but_discovery_gets_in(bench: Bench, method: str) -> None:
    params = REST[method]
    named = {"mcp_name": params["uri"]} if "uri" in params else {}
    answer = await bench.ask("", PUBLIC, modern(method, params), **named)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "a bearer token is needed")
    assert bench.toys[PUBLIC].count("search", question="anonymous") == 0


async def test_a_bad_credential_is_refused_where_none_would_be_let_in(bench: Bench) -> None:
    for token in ("nobody", bench.token(exp=1), bench.token(aud="https://elsewhere.example")):
        assert (await bench.ask(token, PUBLIC, modern("tools/list"))).status_code == 401


async def test_nobody_in_particular_has_no_stream_and_no_call_in_an_older_session(bench: Bench) -> None:
    url = f"{bench.url}/mcp/{PUBLIC}"
    session = await begun(bench.http, url)
    asked = request("tools/call", {"name": "search", "arguments": {"question": "anonymous"}}, id=3)
    assert (await legacy(bench.http, url, asked, session)).status_code == 401
    with anyio.fail_after(5):
        stream = await bench.http.get(url, headers={"mcp-session-id": session, "accept": "text/event-stream"})
    assert stream.status_code == 401
    assert (await bench.http.delete(url)).status_code == 401
    answer = httpx2.Response(200)
    for body in ({"jsonrpc": "2.0", "id": 9, "result": {}}, request("notifications/cancelled", {"requestId": 1}) | {"id": None}):
        answer = await legacy(bench.http, url, {key: value for key, value in body.items() if value is not None}, session)
        assert answer.status_code == 401
    assert bench.toys[PUBLIC].count("search", question="anonymous") == 0
