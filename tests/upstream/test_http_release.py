"""Releases against a server that behaves as badly as the test wants: at most one effect, and never a doubt left untold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest

from broker import __version__
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan
from broker.domain.requests import ApprovalRequest, Origin, RequestId, RequestState
from broker.errors import BrokerError, OutcomeLost, UpstreamUntouched
from broker.upstream import http_release, incoming
from broker.upstream.http import HttpServers, Target
from broker.upstream.http_release import LARGEST_RESULT, HttpReleases
from tests.fakes.scripted import Reply, Seen, Upstream, answer, said
from tests.gateway.rig import serving

ARGUMENTS = {"to": "ada", "amount": 40, "note": "gr\u00fc\u00dfe"}
SCHEMA = {"type": "object", "properties": {"to": {"type": "string", "x-mcp-header": "To"}}}
NOW = datetime(2026, 11, 24, tzinfo=UTC)
OLDER, MODERN = "2025-11-25", "2026-07-28"


def approved(era: str, session: str = "", tool: str = "transfer") -> ApprovalRequest:
    call = ToolCall("s", tool, {"name": tool, "arguments": ARGUMENTS, "other": [1]}, Caller(agent="a"))
    return ApprovalRequest(
        id=RequestId("req-1"), version=3, state=RequestState.EXECUTING, call=call, digest=call.digest(),
        plan=ApprovalPlan("t", (), timedelta(minutes=1)), policy="", definition="", rules=(), reasons=(), opened_at=NOW,
        expires_at=NOW, origin=Origin(era=era, session=session, rpc_id=7),
    )  # fmt: skip


class Releases:
    """`execute` with what it needs; `heard` is what was relayed. `stateless` is the catalogue's word."""

    def __init__(self, upstream: Upstream) -> None:
        self.stateless = False
        self.url = upstream.url
        self.heard: list[Any] = []
        self.servers = HttpServers(self._target, connect_within=2, silence=0.5, pooled=False)
        self.releases = HttpReleases(self.servers, self._target, self._schema)

    def _target(self, name: str) -> Target:
        return Target(self.url, {"authorization": "Bearer ours"}, self.stateless)

    async def _schema(self, server: str, tool: str) -> Mapping[str, Any] | None:
        return SCHEMA

    async def execute(self, request: ApprovalRequest) -> Any:
        with anyio.fail_after(20):
            member = await self.releases.execute(request, lambda message: self.heard.append(msgspec.json.decode(message)))
        return msgspec.json.decode(member)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    async with serving(server) as server.url:
        yield server


@pytest.fixture
async def releases(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Releases]:
    monkeypatch.setattr(http_release, "PAUSE", 0.01)
    made = Releases(upstream)
    yield made
    await made.servers.close()


async def test_a_modern_release_is_the_stored_call_under_an_envelope_of_ours(releases: Releases, upstream: Upstream) -> None:
    assert (await releases.execute(approved(MODERN, tool="\u00fcber weisung")))["result"]["resultType"] == "complete"
    [seen] = upstream.seen
    assert seen.message == {
        "jsonrpc": "2.0",
        "id": "req-1",
        "method": "tools/call",
        "params": {
            "name": "\u00fcber weisung",
            "arguments": ARGUMENTS,
            "other": [1],
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "approval-broker", "version": __version__},
                "progressToken": "req-1",
            },
        },
    }
    told = {name: value for name, value in seen.headers.items() if name.startswith("mcp-") or name == "authorization"}
    assert told == {
        "authorization": "Bearer ours",
        "mcp-protocol-version": MODERN,
        "mcp-method": "tools/call",
        "mcp-name": "=?base64?w7xiZXIgd2Vpc3VuZw==?=",
        "mcp-param-to": "ada",
    }


async def test_an_older_release_goes_in_the_callers_session_under_the_callers_id(releases: Releases, upstream: Upstream) -> None:
    async def streamed(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event(
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "req-1", "progress": 1}}
        )
        await reply.event({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
        await reply.event(answer(seen, said("done")))
        await reply.end()

    upstream.on["tools/call"] = streamed
    assert await releases.execute(approved(OLDER, "theirs")) == {"result": said("done")}
    [seen] = upstream.seen
    assert seen.message is not None
    assert (seen.message["id"], seen.message["params"]["_meta"]) == (7, {"progressToken": "req-1"})
    assert (seen.headers["mcp-session-id"], seen.headers["mcp-protocol-version"]) == ("theirs", OLDER)
    assert [message["method"] for message in releases.heard] == ["notifications/progress", "roots/list"]


async def test_a_broken_stream_is_resumed_after_its_last_event(releases: Releases, upstream: Upstream) -> None:
    async def broken(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event(b"retry: 10\ndata: \n\n", id="e-1")
        await reply.part(b'id: e-2\ndata: {"half')
        await reply.end()

    async def resumed(seen: Seen, reply: Reply) -> None:
        number = len(upstream.of("GET"))
        await reply.stream()
        if number == 1:
            await reply.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}, id="e-3")
        else:
            await reply.event({"jsonrpc": "2.0", "id": 7, "result": said("done")})
        await reply.end()

    upstream.on["tools/call"], upstream.on["GET"] = broken, resumed
    assert await releases.execute(approved(OLDER, "theirs")) == {"result": said("done")}
    told = [(seen.headers["last-event-id"], seen.headers["mcp-session-id"]) for seen in upstream.of("GET")]
    assert told == [("e-1", "theirs"), ("e-3", "theirs")]
    assert len(upstream.of("tools/call")) == 1


async def gone(seen: Seen, reply: Reply) -> None:
    if seen.headers.get("mcp-session-id") == "theirs":
        await reply.json({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}, 404)
    else:
        await reply.json(answer(seen, said("done")))


async def test_a_release_whose_session_is_gone_leaves_the_server_untouched(releases: Releases, upstream: Upstream) -> None:
    upstream.on["tools/call"] = gone
    with pytest.raises(UpstreamUntouched, match="session with the server is gone"):
        await releases.execute(approved(OLDER, "theirs"))


async def test_a_server_without_state_gets_it_in_a_session_of_the_brokers_own(releases: Releases, upstream: Upstream) -> None:
    upstream.on["tools/call"] = gone
    releases.stateless = True
    assert await releases.execute(approved(OLDER, "theirs")) == {"result": said("done")}
    told = [(seen.method or seen.verb, seen.headers.get("mcp-session-id", "")) for seen in upstream.seen]
    own = "the-servers-own-session"
    assert told == [
        ("tools/call", "theirs"), ("initialize", ""), ("notifications/initialized", own), ("tools/call", own), ("DELETE", own),
    ]  # fmt: skip


def does(work: Any) -> Any:
    async def act(seen: Seen, reply: Reply) -> None:
        await work(seen, reply)

    return act


async def silent(seen: Seen, reply: Reply) -> None:
    await reply.left()


async def half_a_stream(seen: Seen, reply: Reply) -> None:
    await reply.stream()
    await reply.part(b'data: {"jsonrpc"')
    await reply.end()


ENDINGS: dict[str, tuple[Any, type[BrokerError]]] = {
    "it does not accept our credentials": (lambda s, r: r.raw(401, www_authenticate="Bearer"), UpstreamUntouched),
    "it redirects": (lambda s, r: r.raw(307, location="http://127.0.0.1:1/"), UpstreamUntouched),
    "it refuses": (lambda s, r: r.json({"error": {"message": "no"}}, 400), UpstreamUntouched),
    "it is too busy": (lambda s, r: r.raw(429), UpstreamUntouched),
    "it fails": (lambda s, r: r.raw(500, b"oops", content_type="text/plain"), OutcomeLost),
    "it is a page": (lambda s, r: r.raw(200, b"<h1>", content_type="text/html"), OutcomeLost),
    "it is no JSON": (lambda s, r: r.raw(200, b"{", content_type="application/json"), OutcomeLost),
    "it is a list": (lambda s, r: r.raw(200, b"[]", content_type="application/json"), OutcomeLost),
    "it is another's answer": (lambda s, r: r.json({"jsonrpc": "2.0", "id": "x", "result": {}}), OutcomeLost),
    "it takes it for a notification": (lambda s, r: r.raw(202), OutcomeLost),
    "it breaks off": (lambda s, r: r.raw(200, b"{", content_type="application/json", content_length="9"), OutcomeLost),
    "it streams half an event": (half_a_stream, OutcomeLost),
    "it says nothing": (silent, OutcomeLost),
}


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("era", [MODERN, OLDER])
async def test_what_became_of_the_call_is_never_guessed(releases: Releases, upstream: Upstream, era: str, name: str) -> None:
    work, error = ENDINGS[name]
    upstream.on["tools/call"] = does(work)
    with pytest.raises(error):
        await releases.execute(approved(era, "theirs" if era == OLDER else ""))
    assert len(upstream.of("tools/call")) == 1


async def test_a_server_that_is_away_was_not_called(releases: Releases) -> None:
    releases.url = "http://127.0.0.1:1/mcp"
    with pytest.raises(UpstreamUntouched):
        await releases.execute(approved(MODERN))


@pytest.mark.parametrize("status", [200, 400, 404, 500])
async def test_an_error_of_the_server_is_its_answer(releases: Releases, upstream: Upstream, status: int) -> None:
    error = {"code": -32602, "message": "no such account", "data": [1]}

    async def fail(seen: Seen, reply: Reply) -> None:
        await reply.json({"jsonrpc": "2.0", "id": "req-1", "error": error}, status)

    upstream.on["tools/call"] = fail
    assert await releases.execute(approved(MODERN)) == {"error": error}


@pytest.mark.parametrize("kind", ["input_required", "task"])
async def test_a_server_that_asks_back_during_a_release_is_told_as_an_error(
    releases: Releases, upstream: Upstream, kind: str
) -> None:
    async def ask(seen: Seen, reply: Reply) -> None:
        await reply.json(answer(seen, {"resultType": kind, "requestState": "x", "taskId": "t"}))

    upstream.on["tools/call"] = ask
    told = await releases.execute(approved(MODERN))
    assert kind in told["error"]["message"]


async def test_a_result_that_is_too_large_to_keep_is_said_to_have_run(
    releases: Releases, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_release, "LARGEST_RESULT", 1_000)
    assert LARGEST_RESULT >= 10_000_000

    async def large(seen: Seen, reply: Reply) -> None:
        await reply.json(answer(seen, said("x" * 2_000)))

    upstream.on["tools/call"] = large
    result = (await releases.execute(approved(MODERN)))["result"]
    assert (result["isError"], "The call ran" in result["content"][0]["text"]) == (True, True)


async def test_an_answer_that_never_ends_is_not_read_to_its_end(
    releases: Releases, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "LARGEST_BODY", 100_000)

    async def flood(seen: Seen, reply: Reply) -> None:
        await reply.stream("application/json")
        for _ in range(100):
            await reply.part(b" " * 10_000)
        await reply.left()

    upstream.on["tools/call"] = flood
    with anyio.fail_after(10), pytest.raises(OutcomeLost, match="too large"):
        await releases.execute(approved(MODERN))
