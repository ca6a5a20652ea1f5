"""Probing: the whole list of a server's tools, as it says it, in whatever era and over whatever it speaks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from broker.domain.servers import Server, ToolDefinition
from broker.errors import UnknownServer, UpstreamUntouched
from broker.upstream import http_peers, probe
from broker.upstream.probe import Prober
from tests.fakes.probing import probing
from tests.fakes.serving import running
from tests.fakes.stdio_bench import ROOT, tools_server

NAMES = ("echo", "effect", "steps", "hang", "die", "pid", "ask", "say", "change", "redefine", "env", "round")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def catalogue() -> Iterator[dict[str, Server]]:
    with ExitStack() as servers:
        entries = [tools_server(f"stdio-{speaks}", speaks=speaks) for speaks in ("both", "older", "newer")]
        for speaks in ("both", "older", "newer"):
            url = servers.enter_context(running("tests.fakes.era_server", speaks))
            entries.append(Server(name=f"http-{speaks}", url=url))
        entries.append(Server(name="raw", command=(sys.executable, f"{ROOT}/tests/fakes/stdio_raw.py")))
        yield {entry.name: entry for entry in entries}


@pytest.fixture(scope="module")
async def prober(catalogue: dict[str, Server]) -> AsyncIterator[Prober]:
    async with probing(catalogue) as ready:
        yield ready.prober


@pytest.mark.parametrize(
    ("server", "era"),
    [
        ("stdio-both", "2026-07-28"),
        ("stdio-older", "2025-11-25"),
        ("stdio-newer", "2026-07-28"),
        ("http-both", "2026-07-28"),
        ("http-older", "2025-11-25"),
        ("http-newer", "2026-07-28"),
    ],
)
async def test_every_page_is_read_in_the_newest_era_that_the_server_speaks(prober: Prober, server: str, era: str) -> None:
    listing = await prober.probe(server)
    told = (listing.server, listing.era, listing.info["name"], listing.instructions)
    assert told == (server, era, "tools", "Have fun.")
    assert tuple(tool.name for tool in listing.tools) == NAMES
    assert listing.tool("echo") == listing.tools[0] != listing.tool("missing")
    again = await prober.probe(server)
    assert msgspec.structs.replace(again, seconds=listing.seconds) == listing


async def test_a_definition_is_kept_as_the_server_wrote_it(prober: Prober) -> None:
    listing = await prober.probe("raw")
    raw = {"name": "raw", "inputSchema": {}, "vendor": {"x": 1.0}}
    assert listing.tools == (ToolDefinition("raw", "raw", raw),)
    assert listing.era == "2025-06-18"


async def test_a_server_that_is_not_in_the_catalogue_is_unknown(prober: Prober) -> None:
    with pytest.raises(UnknownServer):
        await prober.probe("nobody")


def newer(tools: Any) -> Any:
    """A server of 2026-07-28 that lists what it is told."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        hello = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}
        result = hello if asked["method"] == "server/discover" else tools(asked["params"].get("cursor"))
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    return answer


def says(status: int, body: str = "", **headers: str) -> Any:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers, content_type="text/html" if body else None)

    return answer


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (newer(lambda cursor: {"tools": [{"name": "a"}, {"name": "a"}]}), "one name twice"),
        (newer(lambda cursor: {"tools": [{"title": "nameless"}]}), "a tool without a name"),
        (newer(lambda cursor: {"tools": [{"name": f"t{cursor}"}], "nextCursor": str(int(cursor or 0) + 1)}), "does not end"),
        (newer(lambda cursor: {"things": []}), "holds no tools"),
        (says(401, **{"WWW-Authenticate": "Bearer"}), "HTTP 401"),
        (says(302, Location="http://127.0.0.1:1/"), "HTTP 302"),
        (says(503), "HTTP 503"),
        (says(200, "<p>hello</p>"), "not MCP"),
        (says(404), "speaks neither era"),
    ],
)
async def test_what_is_no_list_of_tools_is_refused_with_its_reason(
    handler: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "MOST_PAGES", 5)
    async with serving(handler) as url, probing({"odd": Server(name="odd", url=url)}) as ready:
        with pytest.raises(UpstreamUntouched, match=why):
            await ready.prober.probe("odd")


async def test_a_server_that_is_away_or_mute_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_peers, "HANDSHAKE_WITHIN", 0.2)
    left = asyncio.Event()

    async def mute(request: web.Request) -> web.Response:
        await left.wait()
        return web.Response()

    async with serving(mute) as url:
        entries = {"away": Server(name="away", url="http://127.0.0.1:9/mcp"), "mute": Server(name="mute", url=url)}
        async with probing(entries) as ready:
            with pytest.raises(UpstreamUntouched, match="can't be reached"):
                await ready.prober.probe("away")
            with pytest.raises(UpstreamUntouched, match="did not shake hands"):
                await ready.prober.probe("mute")
        left.set()


async def test_a_session_that_an_older_server_has_forgotten_is_begun_again() -> None:
    sessions: list[str] = []

    async def forgetful(request: web.Request) -> web.Response:
        """Knows the newest session for one list only."""
        asked = await request.json() if request.method == "POST" else {}
        session = request.headers.get("mcp-session-id", "")
        if asked.get("method") == "initialize":
            sessions.append(f"s{len(sessions)}")
            hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "f", "version": "1"}}
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": hello}
            return web.json_response(answer, headers={"mcp-session-id": sessions[-1]})
        if not sessions or session != sessions[-1]:
            return web.Response(status=404 if session else 400)
        if "id" not in asked:
            return web.Response(status=202)
        sessions.append("forgotten")
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": {"tools": [{"name": "a"}]}})

    async with serving(forgetful) as url, probing({"f": Server(name="f", url=url)}) as ready:
        assert [tool.name for tool in (await ready.prober.probe("f")).tools] == ["a"]
        assert [tool.name for tool in (await ready.prober.probe("f")).tools] == ["a"]
    assert sessions == ["s0", "forgotten", "s2", "forgotten"]


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    """Serve one handler for every verb of `/mcp`; yields the address."""
    app = web.Application()
    app.router.add_route("*", "/mcp", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()
