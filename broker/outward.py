"""The side towards guarded servers, wired: the catalogue in force, what its servers offer, and the ways to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.approvals.ports import Query
from broker.domain.requests import ApprovalRequest, Change, RequestId, RequestState
from broker.joined import Joined
from broker.registry.catalogue import Catalogue
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.registry.voiding import Voiding
from broker.settings import Settings
from broker.signing import Words
from broker.store.open import Store
from broker.store.requests import Requests
from broker.upstream.bridge import HttpBridge
from broker.upstream.credentials import Credentials
from broker.upstream.http import HttpServers
from broker.upstream.http_peers import HttpPeers
from broker.upstream.http_release import HttpReleases
from broker.upstream.probe import Prober
from broker.upstream.stdio import StdioForwarder
from broker.upstream.targets import Directory
from broker.upstream.ways import Ways


@dataclass(frozen=True)
class Outward:
    """Everything towards guarded servers. `tools.running()` keeps asking them."""

    servers: Joined
    tools: Catalogue
    pins: Pins
    ways: Ways

    def knows(self, server: str, tool: str) -> bool:
        """Does the server offer this tool, as last asked?"""
        return tool in self._tools(server)

    def sizes(self) -> tuple[int, int]:
        """How many servers calls may go to, and how many tools these offer, as last asked."""
        names = self.servers.names()
        return len(names), sum(len(self._tools(name)) for name in names)

    def _tools(self, server: str) -> frozenset[str]:
        """What a server offered when it was last asked; what servers.yaml names while it never was."""
        last, declared = self.tools.last(server), self.servers.server(server)
        if last is not None:
            return frozenset(tool.name for tool in last[0].tools)
        return frozenset(declared.tools if declared is not None else ())


async def outward(
    settings: Settings, servers: Joined, store: Store, words: Words, rooms: AsyncExitStack
) -> Outward:  # fmt: skip
    """Return the side towards servers; `rooms` closes it."""
    pins, target = Pins(store.servers), Directory(servers.askable).target
    connect, silence = settings.connect_timeout.total_seconds(), settings.upstream_timeout.total_seconds()
    own, stamp = Credentials(words.asserts, introduces=words.introduces), words.stamp
    passing = HttpServers(target, credentials=own, connect_within=connect, silence=silence, for_enrolled=settings.enrol_networks)
    releasing = HttpServers(
        target, credentials=own, connect_within=connect, silence=silence, pooled=False, for_enrolled=settings.enrol_networks
    )
    stdio = StdioForwarder(servers.server, silence=settings.upstream_timeout, stamp=stamp)
    for http in (own, passing, releasing):
        rooms.push_async_callback(http.close)
    await rooms.enter_async_context(stdio.running())

    async def schema(server: str, tool: str) -> Mapping[str, Any] | None:
        return await tools.schema(server, tool)  # the catalogue is made below, of what is made here

    peers, release_peers = HttpPeers(passing.forward, target, schema), HttpPeers(releasing.forward, target, schema)
    for met in (peers, release_peers):
        rooms.push_async_callback(met.close)
    releases = HttpReleases(releasing, target, schema, stamp)
    bridge = HttpBridge(passing, releases, peers, release_peers, stamp, silence=silence)
    await rooms.enter_async_context(bridge.running())
    voiding = Voiding(_Waiting(store.requests), pins)

    async def listed(listing: Listing) -> None:
        await voiding.listed(listing)

    tools = Catalogue(servers, Prober(servers.askable, peers, stdio.peer), pins, listed=listed, every=settings.probe_every)
    return Outward(servers, tools, pins, Ways(servers.server, bridge, stdio))


class _Waiting:
    """The requests that a changed tool may end, out of the store."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def waiting(self, server: str) -> Sequence[ApprovalRequest]:
        query = Query(states=(RequestState.PENDING, RequestState.APPROVED), server=server)
        found: list[ApprovalRequest] = []
        cursor = ""
        while True:
            page = await self._requests.find(query, limit=200, cursor=cursor)
            found.extend(page.requests)
            cursor = page.cursor
            if not cursor:
                return found

    async def update(
        self, request_id: RequestId, change: Callable[[ApprovalRequest, datetime], Change]
    ) -> ApprovalRequest:  # fmt: skip
        return await self._requests.update(request_id, change)
