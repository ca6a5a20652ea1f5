"""Asking a server what it offers: every page of its tools, in the era that it speaks, as it says it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from broker.domain.servers import Server, ToolDefinition
from broker.errors import OutcomeLost, UnknownServer, UpstreamUntouched
from broker.registry.ports import Listing
from broker.upstream import eras
from broker.upstream.acting import BROKER, speaking_for
from broker.upstream.flights import Message
from broker.upstream.http_peers import HttpPeers
from broker.upstream.listeners import Peer
from broker.upstream.words import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

# Pages and tools of one list: a server whose list does not end is no server to rely on.
MOST_PAGES = 100
MOST_TOOLS = 5_000


class Prober:
    """Asks servers of the catalogue: `http` has those with an address, `stdio` gives those with a command by name.

    `within` is how many seconds a whole list may take, once the server is met.
    """

    def __init__(
        self, catalogue: Callable[[str], Server | None], http: HttpPeers, stdio: Callable[[str], Awaitable[Peer]], *,
        within: float = 15.0,
    ) -> None:  # fmt: skip
        self._catalogue = catalogue
        self._http = http
        self._stdio = stdio
        self._within = within

    async def probe(self, server: str) -> Listing:
        """Return what the server offers now. Raises `UnknownServer`, `UpstreamUntouched` when it can't be asked."""
        entry = self._catalogue(server)
        if entry is None:
            raise UnknownServer(f"there is no server {server}", server=server)
        began = time.monotonic()
        try:
            with speaking_for(BROKER):
                peer = await (self._stdio(server) if entry.command else self._http.peer(server))
                with anyio.fail_after(self._within):
                    tools = await _tools(peer, server)
        except TimeoutError:
            raise UpstreamUntouched(f"{server} did not list its tools within {self._within:.0f} s") from None
        except OutcomeLost as error:
            raise UpstreamUntouched(f"{server} can't be asked for its tools: {error.message}") from None
        except _Senseless as error:
            self._http.forget(server)  # it may speak another era by now
            raise UpstreamUntouched(f"{server} can't be asked for its tools: {error}") from None
        version = str(peer.hello.get("protocolVersion", LATEST_HANDSHAKE_VERSION)) if peer.older else LATEST_MODERN_VERSION
        told = str(peer.hello.get("instructions") or "")
        return Listing(server, tools, version, eras.server_info(peer.hello, server), told, time.monotonic() - began)


class _Senseless(Exception):
    """An answer to the question for tools that has none."""


async def _tools(peer: Peer, server: str) -> tuple[ToolDefinition, ...]:
    found: dict[str, ToolDefinition] = {}
    cursor: Any = None
    for page in range(MOST_PAGES):
        result = await _page(peer, page, cursor)
        for raw in result["tools"]:
            if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or raw["name"] in found:
                raise _Senseless("its list holds a tool without a name, or one name twice")
            found[raw["name"]] = ToolDefinition(server, raw["name"], raw)
        cursor = result.get("nextCursor")
        if cursor is None:
            return tuple(found.values())
        if len(found) > MOST_TOOLS:
            break
    raise _Senseless("its list of tools does not end")


async def _page(peer: Peer, page: int, cursor: Any) -> Message:
    request: Message = {"jsonrpc": "2.0", "id": f"probe-{page}", "method": "tools/list", "params": {}}
    if cursor is not None:
        request["params"] = {"cursor": cursor}
    answer = await peer.ask(request if peer.older else eras.enveloped(request, {}, eras.US), eras.ignored, object())
    result = answer.get("result")
    if isinstance(result, dict) and isinstance(result.get("tools"), list):
        return result
    told = answer.get("error")
    told = told if isinstance(told, dict) else {"message": "its answer holds no tools"}
    if told.get("code") == eras.METHOD_NOT_FOUND and "tools" not in (peer.hello.get("capabilities") or {}):
        return {"tools": []}
    raise _Senseless(str(told.get("message"))[:200])
