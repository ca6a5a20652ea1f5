"""A prober on real parts, over a catalogue of servers of both kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

from broker.domain.servers import Server
from broker.upstream.http import HttpServers
from broker.upstream.http_peers import HttpPeers
from broker.upstream.probe import Prober
from broker.upstream.stdio import StdioForwarder
from broker.upstream.targets import Directory


class Probing(NamedTuple):
    prober: Prober
    stdio: StdioForwarder


@asynccontextmanager
async def probing(catalogue: dict[str, Server]) -> AsyncIterator[Probing]:
    directory = Directory(catalogue.get)
    stdio, http = StdioForwarder(catalogue.get, silence=timedelta(seconds=10)), HttpServers(directory.target)
    peers = HttpPeers(http.forward, directory.target, _no_schema)
    async with stdio.running():
        try:
            yield Probing(Prober(catalogue.get, peers, stdio.peer, within=5), stdio)
        finally:
            await peers.close()
            await http.close()


async def _no_schema(server: str, tool: str) -> None:
    return None
