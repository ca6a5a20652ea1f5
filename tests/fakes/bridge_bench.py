"""HTTP servers of either era behind the bridge and a bare HTTP face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp import Client

from broker.domain.servers import Server
from broker.upstream.bridge import HttpBridge
from broker.upstream.http import HttpServers
from broker.upstream.http_peers import HttpPeers
from broker.upstream.http_release import HttpReleases
from broker.upstream.targets import Directory
from tests.fakes.front import fronted


class BridgeBench:
    """`bridge` at `address`, over the addresses of `urls`."""

    def __init__(self, bridge: HttpBridge, address: str, urls: Mapping[str, str]) -> None:
        self.bridge = bridge
        self.address = address
        self.urls = urls

    def client(self, server: str, mode: str = "auto", **more: Any) -> Client:
        return Client(self.address + server, mode=mode, **more)

    def direct(self, server: str, mode: str = "auto", **more: Any) -> Client:
        return Client(self.urls[server], mode=mode, **more)


@asynccontextmanager
async def bridge_bench(urls: Mapping[str, str], *, silence: float = 20.0) -> AsyncIterator[BridgeBench]:
    catalogue = {name: Server(name=name, url=url) for name, url in urls.items()}
    target = Directory(catalogue.get).target
    passing, releasing = HttpServers(target), HttpServers(target, pooled=False)
    peers, release_peers = HttpPeers(passing.forward, target, _no_schema), HttpPeers(releasing.forward, target, _no_schema)
    releases = HttpReleases(releasing, target, _no_schema)
    bridge = HttpBridge(passing, releases, peers, release_peers, lambda request: {}, silence=silence)
    async with AsyncExitStack() as closing:
        for close in (passing.close, releasing.close, peers.close, release_peers.close):
            closing.push_async_callback(close)
        await closing.enter_async_context(bridge.running())
        address, _ = await closing.enter_async_context(fronted(bridge))
        yield BridgeBench(bridge, address, urls)


async def _no_schema(server: str, tool: str) -> None:
    return None
