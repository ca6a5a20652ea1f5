"""Routes past the broker: guarded servers that list their tools to somebody without any credential."""

from __future__ import annotations

import asyncio

import msgspec

from broker.diagnosis import Finding, Level
from broker.domain.servers import Server
from broker.errors import UpstreamError
from broker.policy.model import Policy
from broker.probing import prober
from broker.settings import Settings
from broker.upstream.probe import Prober

# Servers that are asked at once.
_AT_ONCE = 8
_MEND = "give it credentials that the broker alone has, close its network, or demand receipts (broker.guarded)"


async def route_findings(policy: Policy, settings: Settings) -> list[Finding]:
    """Ask each server with an address as the broker does, and again as a stranger. Programs are not started for it."""
    reached = {name: server for name, server in policy.servers.items() if server.url}
    bare = {name: _without_credentials(server) for name, server in reached.items()}
    within, turn = settings.connect_timeout.total_seconds(), asyncio.Semaphore(_AT_ONCE)
    async with prober(reached.get, connect_within=within) as broker, prober(bare.get, connect_within=within) as stranger:

        async def looked_at(server: Server) -> Finding:
            async with turn:
                return await _looked_at(server, broker, stranger)

        return list(await asyncio.gather(*map(looked_at, reached.values())))


async def _looked_at(server: Server, broker: Prober, stranger: Prober) -> Finding:
    about = f"server {server.name}"
    try:
        await broker.probe(server.name)
    except UpstreamError as error:
        return Finding(Level.WARNING, about, f"can't be asked for its tools: {error.message}", "start it, or mend servers.yaml")
    try:
        await stranger.probe(server.name)
    except UpstreamError:
        return Finding(Level.FINE, about, "answers the broker, and nobody without its credentials")
    told = f"lists its tools to whoever reaches {server.url}, without a credential: calls may go around the broker"
    return Finding(Level.WARNING, about, told, _MEND)


def _without_credentials(server: Server) -> Server:
    return msgspec.structs.replace(server, headers={}, auth=None, tell_caller=False)
