"""Older-era sessions of many callers over the one process that they share: each begins and ends, the process stays.

A session here is an id and who listens under it, so any broker can go on with it, also after a restart. The server can't ask
its callers anything: it was shaken hands with by the broker, which declares no capability. Where it has to, the catalogue
gives each session a process of its own (`per_session`).
"""

from __future__ import annotations

import secrets

from broker.upstream import eras
from broker.upstream.flights import Message, Sink
from broker.upstream.listeners import CHANGES, Listener, Listeners, Peers

_PREFIX = "shared."


class SharedSessions:
    """Sessions over an older server that all share."""

    def __init__(self, server: str, peers: Peers, listeners: Listeners) -> None:
        self._server = server
        self._peers = peers
        self._listeners = listeners
        self._uris: dict[str, set[str]] = {}

    def knows(self, session: str) -> bool:
        return session.startswith(_PREFIX)

    async def begin(self, request: Message) -> tuple[Message, str]:
        """Answer `initialize` with what the server said to us, and give out a session id."""
        peer = await self._peers()
        hello = eras.initialized(peer.hello, (request.get("params") or {}).get("protocolVersion"), self._server)
        hello["capabilities"] = {name: value for name, value in hello["capabilities"].items() if name not in ("logging", "tasks")}
        return eras.result(request, hello), _PREFIX + secrets.token_urlsafe(16)

    async def ask(self, session: str, request: Message, sink: Sink) -> Message:
        """Return the server's answer. Raises `UpstreamUntouched`, `OutcomeLost`."""
        match request["method"]:
            case "resources/subscribe" | "resources/unsubscribe":
                return await self._subscribe(session, request)
            case "logging/setLevel":  # would change what every other session hears
                return eras.no_method(request)
            case _:
                peer = await self._peers()
                return await peer.ask(request, sink, session)

    async def tell(self, session: str, message: Message) -> None:
        """Take a notification. Only a cancellation concerns the server: the rest is about a session that it does not know."""
        if message.get("method") == "notifications/cancelled":
            params = message.get("params") or {}
            await (await self._peers()).cancel(session, params.get("requestId"), params)

    async def listen(self, session: str, sink: Sink) -> None:
        """Hear about changes until the server is given up, or this is cancelled."""
        uris = self._uris.setdefault(session, set())
        with self._listeners.listening(Listener(sink, frozenset(CHANGES), uris)):
            await self._listeners.over.wait()

    async def end(self, session: str) -> None:
        for uri in self._uris.pop(session, set()):
            await self._listeners.unsubscribe(uri)

    async def _subscribe(self, session: str, request: Message) -> Message:
        uri = (request.get("params") or {}).get("uri")
        uris = self._uris.setdefault(session, set())
        if not isinstance(uri, str):
            return eras.error(request, eras.INVALID_PARAMS, "`uri` has to be a string")
        if request["method"] == "resources/subscribe" and uri not in uris:
            refused = await self._listeners.subscribe(uri)
            if refused is not None:
                return {**refused, "id": request["id"]}
            uris.add(uri)
        elif request["method"] == "resources/unsubscribe" and uri in uris:
            uris.discard(uri)
            await self._listeners.unsubscribe(uri)
        return eras.result(request, {})
