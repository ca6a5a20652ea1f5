"""Sessions of the older era: sealed, passed through, listened to, resumed and ended."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.calls import Caller
from broker.errors import StoreUnavailable
from broker.gateway.sessions import Place, Seals, Session
from broker.store.open import Store
from tests.fakes.ledger_server import Ledger
from tests.fakes.scripted import SESSION, Reply, Seen, Upstream, answer, said
from tests.gateway.rig import CALLERS, Policies, Rig
from tests.gateway.wire import ACCEPT, begun, events, forged, head, legacy, modern, request

ALICE, BOB = Caller(agent="alice"), Caller(agent="bob")


def test_a_sealed_session_opens_for_its_own_principal_and_server_only() -> None:
    seals, session = Seals(b"k" * 32), Session("theirs", "claude-code", "2")
    sealed = seals.session(session, ALICE, "payments")
    assert seals.open_session(sealed, ALICE, "payments") == session
    assert Seals(b"k" * 32).open_session(sealed, ALICE, "payments") == session, "another broker with the same key"
    assert seals.open_session(sealed, BOB, "payments") is None
    assert seals.open_session(sealed, ALICE, "files") is None
    assert Seals(b"j" * 32).open_session(sealed, ALICE, "payments") is None
    assert seals.open_event(sealed, ALICE, "payments") is None, "a session is no place to come back to"
    assert all(0x21 <= ord(char) <= 0x7E for char in sealed)


@pytest.mark.parametrize("text", ["", ".", "a", "a.b", "a.b.c", "=.=", "ü.ü", "x" * 10_000, "\x00.\x00", "W10.AAAA"])
def test_what_we_did_not_seal_opens_nothing(text: str) -> None:
    seals = Seals(b"k" * 32)
    assert seals.open_session(text, ALICE, "payments") is None
    assert seals.open_event(text, ALICE, "payments") is None


def test_every_changed_character_breaks_a_seal() -> None:
    seals = Seals(b"k" * 32)
    sealed = seals.event(Place("req-1", 7, "theirs"), ALICE, "payments")  # type: ignore[arg-type]
    assert seals.open_event(sealed, ALICE, "payments") is not None
    for at in range(len("broker."), len(sealed)):
        for other in "A_":
            forged = sealed[:at] + other + sealed[at + 1 :]
            opened = seals.open_event(forged, ALICE, "payments")
            assert forged == sealed or opened is None or at == len(sealed) - 1, at


async def test_the_servers_session_is_sealed_and_a_stranger_gets_404(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    assert SESSION not in session
    assert (await legacy(http, url, request("tools/list"), session)).status_code == 200
    assert upstream.of("tools/list")[0].headers["mcp-session-id"] == SESSION
    for stranger in (forged(session), SESSION, "x"):
        assert (await legacy(http, url, request("tools/list"), stranger)).status_code == 404
    for verb in ("POST", "GET", "DELETE"):
        told = {**ACCEPT, "mcp-session-id": session, "authorization": "Bearer mallory"}
        response = await http.request(verb, url, headers=told, json=request("tools/list"))
        assert (response.status_code, "Session not found" in response.text) == (404, True)
    assert len(upstream.of("tools/list")) == 1


async def test_the_sessions_own_stream_passes_and_a_replayed_list_is_filtered(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    async def stream(seen: Seen, reply: Reply) -> None:
        assert (seen.headers["last-event-id"], seen.headers["mcp-session-id"]) == ("17", SESSION)
        await reply.stream()
        await reply.event(b": ping\n\n")
        await reply.event({"jsonrpc": "2.0", "id": "ask", "method": "roots/list"}, id="18")
        await reply.event({"jsonrpc": "2.0", "id": 3, "result": {"tools": [{"name": "burn"}, {"name": "echo"}]}}, id="19")
        await reply.event(b'data: {"jsonrpc":"2.0","id":3,\ndata: "result":{"\\u0074ools":[{"name":"burn"}]}}\n\n', id="20")
        await reply.event(b"data: no json\n\n")
        await reply.end()

    upstream.on["GET"] = stream
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    response = await http.get(url, headers={**ACCEPT, "mcp-session-id": session, "last-event-id": "17"})
    assert response.headers["content-type"] == "text/event-stream"
    blocks = response.text.split("\n\n")
    assert blocks[0] == ": ping"
    assert blocks[1].startswith("id: 18\n") and "roots/list" in blocks[1]
    assert "burn" not in response.text and "id: 19" not in response.text and "id: 20" not in response.text
    assert blocks[4] == "data: no json"


async def test_shutdown_ends_open_streams_properly(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    async def endless(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event(b": hello\n\n")
        await reply.left()

    upstream.on["GET"] = upstream.on["subscriptions/listen"] = endless
    url = scripted.mcp("scripted")
    told = {**ACCEPT, "mcp-session-id": await begun(http, url)}
    heard: list[str] = []

    async def listen(request: httpx2.Request) -> None:
        response = await http.send(request, stream=True)
        async for chunk in response.aiter_text():
            heard.append(chunk)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as listeners:
            listeners.start_soon(listen, http.build_request("GET", url, headers=told))
            message = modern("subscriptions/listen")
            listeners.start_soon(listen, http.build_request("POST", url, json=message, headers=head("subscriptions/listen")))
            while len(heard) < 2:  # noqa: ASYNC110  either may come first
                await anyio.sleep(0.01)
            scripted.gateway.drain()
    assert heard == [": hello\n\n"] * 2


async def test_open_streams_end_when_their_credential_does(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 0

    async def endless(seen: Seen, reply: Reply) -> None:
        nonlocal left
        await reply.stream()
        await reply.event(b": hello\n\n")
        monkeypatch.delitem(CALLERS, "alice", raising=False)
        await reply.left()
        left += 1

    upstream.on["GET"] = upstream.on["subscriptions/listen"] = endless
    monkeypatch.setattr("broker.gateway.lasting.LOOK", 0.01)
    url, alice = scripted.mcp("scripted"), CALLERS["alice"]
    told = {**ACCEPT, "mcp-session-id": await begun(http, url)}
    with anyio.fail_after(5):
        assert (await http.get(url, headers=told)).text == ": hello\n\n"
        monkeypatch.setitem(CALLERS, "alice", alice)
        listen = modern("subscriptions/listen")
        assert (await http.post(url, json=listen, headers=head("subscriptions/listen"))).text == ": hello\n\n"
        while left < 2:  # noqa: ASYNC110  the server sees it a moment later
            await anyio.sleep(0.01)


async def test_a_server_without_a_stream_says_so(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    url = scripted.mcp("scripted")
    response = await http.get(url, headers={**ACCEPT, "mcp-session-id": await begun(http, url)})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_a_session_without_parked_calls_ends_at_once(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    url = scripted.mcp("scripted")
    response = await http.delete(url, headers={"mcp-session-id": await begun(http, url)})
    assert response.status_code == 200
    assert upstream.of("DELETE")[0].headers["mcp-session-id"] == SESSION


async def test_a_session_ends_upstream_when_its_parked_calls_have_ended(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    async with anyio.create_task_group() as agents:
        agents.start_soon(legacy, http, url, request("tools/call", {"name": "park_me"}, id=9), session)
        [parked] = await scripted.asked()
        assert (await http.delete(url, headers={"mcp-session-id": session})).status_code == 200
        assert upstream.of("DELETE") == []
        assert (await legacy(http, url, request("tools/list"), session)).status_code == 404
        await scripted.review(parked)
        with anyio.fail_after(10):
            [delete] = await upstream.until("DELETE")
    assert delete.headers["mcp-session-id"] == SESSION
    [executed] = upstream.of("tools/call")
    assert (executed.headers["mcp-session-id"], executed.message and executed.message["id"]) == (SESSION, 9)


async def test_a_cancelled_call_ends_with_pending_and_its_request_stays(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    told: list[httpx2.Response] = []

    async def ask() -> None:
        told.append(await legacy(http, url, request("tools/call", {"name": "park_me"}, id=9), session))

    async with anyio.create_task_group() as agents:
        agents.start_soon(ask)
        [parked] = await scripted.asked()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
        with anyio.fail_after(5):
            while not told:
                assert (await legacy(http, url, cancel, session)).status_code == 202
                await anyio.sleep(0.02)
    ended = events(told[0].text)[-1]["result"] if "event" in told[0].text else told[0].json()["result"]
    assert ended["_meta"]["approval-broker/code"] == "pending"
    assert (await scripted.asked()) == [parked]
    async with anyio.create_task_group() as agents:
        agents.start_soon(ask)
        await scripted.approve()
    result = events(told[1].text)[-1]["result"] if "event" in told[1].text else told[1].json()["result"]
    assert (result["_meta"]["approval-broker/joined"], len(upstream.of("tools/call"))) == (True, 1)


async def test_a_client_comes_back_by_its_last_event_even_after_a_restart(
    store: Store, policies: Policies, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    arguments = {"to": "ada", "amount": 40}
    message = request("tools/call", {"name": "transfer", "arguments": arguments}, id="mine")
    async with Rig(store, policies, hold=60).running() as first:
        session = await begun(http, first.mcp())
        told = {**ACCEPT, "mcp-protocol-version": "2025-11-25", "mcp-session-id": session}
        with anyio.fail_after(10):
            async with http.stream("POST", first.mcp(), json=message, headers=told) as response:
                lines = response.aiter_lines()
                event_id = (await anext(line async for line in lines if line.startswith("id:"))).removeprefix("id: ")
    async with Rig(store, policies, broker="broker-2").running() as second:
        stranger = await http.get(second.mcp(), headers={**told, "last-event-id": event_id[:-3] + "AAA"})
        assert stranger.status_code == 404
        answers: list[httpx2.Response] = []

        async def back() -> None:
            answers.append(await http.get(second.mcp(), headers={**told, "last-event-id": event_id}))

        async with anyio.create_task_group() as agents:
            agents.start_soon(back)
            await second.approve()
    [final] = [message for message in events(answers[0].text) if "method" not in message]
    assert (final["id"], final["result"]["content"][0]["text"]) == ("mine", "moved 40 to ada")
    assert bank.effects() == [arguments]


async def test_what_the_server_asks_during_a_release_reaches_its_caller_and_the_answer_goes_back(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    answered = anyio.Event()

    async def asking(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "sure?"}})
        await answered.wait()
        await reply.event(answer(seen, said("done")))
        await reply.end()

    upstream.on["tools/call"] = asking
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    heard: list[dict[str, Any]] = []

    async def ask() -> None:
        told = {**ACCEPT, "mcp-protocol-version": "2025-11-25", "mcp-session-id": session}
        message = request("tools/call", {"name": "park_me"}, id=9)
        async with http.stream("POST", url, json=message, headers=told) as response:
            async for line in response.aiter_lines():
                heard.extend(events(line))
                if heard and heard[-1].get("id") == "q" and not answered.is_set():
                    yes = {"jsonrpc": "2.0", "id": "q", "result": {"action": "accept"}}
                    assert (await legacy(http, url, yes, session)).status_code == 202
                    answered.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as agents:
            agents.start_soon(ask)
            await scripted.approve()
    assert [message.get("method", "answer") for message in heard] == ["elicitation/create", "answer"]
    assert (heard[-1]["id"], heard[-1]["result"]["content"][0]["text"]) == (9, "done")
    assert upstream.seen[-1].message == {"jsonrpc": "2.0", "id": "q", "result": {"action": "accept"}}


async def test_a_session_ends_after_its_parked_calls_also_when_the_store_was_away_at_the_first_try(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    async with anyio.create_task_group() as agents:
        agents.start_soon(legacy, http, url, request("tools/call", {"name": "park_me"}, id=9), session)
        [parked] = await scripted.asked()
        with monkeypatch.context() as away:

            async def unreachable(*_: object) -> None:
                raise StoreUnavailable("the store is away")

            away.setattr(scripted.desk, "fetched", unreachable)
            assert (await http.delete(url, headers={"mcp-session-id": session})).status_code == 503
        assert (await http.delete(url, headers={"mcp-session-id": session})).status_code == 200
        assert upstream.of("DELETE") == [], "its call still waits"
        await scripted.review(parked)
        with anyio.fail_after(10):
            await upstream.until("DELETE")
