"""Asking servers without a broker around it, wired: for the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from broker.domain.servers import Server
from broker.upstream.credentials import Credentials
from broker.upstream.http import HttpServers
from broker.upstream.http_peers import HttpPeers
from broker.upstream.probe import Prober
from broker.upstream.stdio import StdioForwarder
from broker.upstream.targets import Directory


@asynccontextmanager
async def prober(
    catalogue: Callable[[str], Server | None], *, connect_within: float = 5.0, for_enrolled: Sequence[str] = ()
) -> AsyncIterator[Prober]:
    """Yield a prober for a catalogue. Servers that it starts are ended with it. `for_enrolled`: where enrolled ones may be."""
    target = Directory(catalogue).target
    own = Credentials()
    http = HttpServers(target, credentials=own, connect_within=connect_within, for_enrolled=for_enrolled)
    peers = HttpPeers(http.forward, target, _no_schema)
    stdio = StdioForwarder(catalogue, silence=timedelta(minutes=1))
    async with stdio.running():
        try:
            yield Prober(catalogue, peers, stdio.peer)
        finally:
            await peers.close()
            await http.close()
            await own.close()


async def _no_schema(server: str, tool: str) -> None:
    """Probes call no tool."""
