"""The way to each server of the catalogue: HTTP for those with an address, a pipe for those with a command."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from broker.approvals.ports import Relay
from broker.domain.requests import ApprovalRequest, Origin
from broker.domain.servers import Server
from broker.errors import UnknownServer
from broker.upstream.acting import speaking_for
from broker.upstream.answers import Stream, Whole
from broker.upstream.bridge import HttpBridge
from broker.upstream.incoming import HttpAnswer
from broker.upstream.stdio import StdioForwarder


class Ways:
    """Forwards and executes by the kind of the server."""

    def __init__(self, catalogue: Callable[[str], Server | None], http: HttpBridge, stdio: StdioForwarder) -> None:
        self._catalogue = catalogue
        self._http = http
        self._stdio = stdio

    def forward(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False
    ) -> Coroutine[Any, Any, HttpAnswer | Whole | Stream]:
        """Send one message on. Raises `UnknownServer`, `UpstreamUntouched`, `OutcomeLost`."""
        way = self._stdio if self._over_stdio(server) else self._http
        return way.forward(server, verb, headers, body, patient=patient)

    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        """Send a stored call once, with what its caller can be asked if the server may ask by now. Raises as `forward` does."""
        server = self._catalogue(request.call.server)
        if server is None or not server.asks_back:
            request = msgspec.structs.replace(request, origin=_silent(request.origin))
        with speaking_for(request.call.caller):
            if self._over_stdio(request.call.server):
                return await self._stdio.execute(request, relay)
            return await self._http.execute(request, relay)

    def _over_stdio(self, name: str) -> bool:
        server = self._catalogue(name)
        if server is None:
            raise UnknownServer("the server is not in the catalogue", server=name)
        return bool(server.command)


def _silent(origin: Origin) -> Origin:
    return msgspec.structs.replace(origin, capabilities={}, log_level="")
