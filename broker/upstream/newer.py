"""Callers of 2026-07-28 in front of a server of either era. There is no session: each request stands for itself."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from typing import Any

from broker.upstream import eras
from broker.upstream.flights import Message, Sink
from broker.upstream.listeners import CHANGES, Listener, Listeners, Peer, Peers
from broker.upstream.words import ERROR_CODE_HTTP_STATUS, SUBSCRIPTION_ID_META_KEY

# Methods of 2026-07-28 that an older server knows as well.
_BOTH = frozenset(
    (
        "tools/list", "tools/call", "prompts/list", "prompts/get", "resources/list", "resources/read",
        "resources/templates/list", "completion/complete",
    )
)  # fmt: skip
# Methods of the older era only.
_GONE = frozenset(("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"))


class Newer:
    """Answers requests of the newer era, by the server itself or by what the older server says."""

    def __init__(self, server: str, peers: Peers, listeners: Listeners) -> None:
        self._server = server
        self._peers = peers
        self._listeners = listeners

    async def ask(self, request: Message, sink: Sink) -> Message:
        """Return the answer. Raises `UpstreamUntouched`, `OutcomeLost`."""
        peer = await self._peers()
        if not peer.older:
            return await peer.ask(request, sink, object())
        method = request["method"]
        if method == "server/discover":
            return self._newer(peer, request, eras.result(request, eras.discovered(peer.hello)))
        if method == "subscriptions/listen":
            return await self._listen(peer, request, sink)
        if method in _GONE:
            return eras.no_method(request)
        return self._newer(peer, request, await peer.ask(eras.bare(request), sink, object()))

    def _newer(self, peer: Peer, request: Message, answer: Message) -> Message:
        return eras.newer_answer(request["method"], answer, eras.server_info(peer.hello, self._server))

    async def _listen(self, peer: Peer, request: Message, sink: Sink) -> Message:
        """Serve `subscriptions/listen` from the older server's own notifications, until the caller leaves or all is over."""
        meta = {SUBSCRIPTION_ID_META_KEY: request["id"]}
        asked = request["params"].get("notifications")
        kinds, uris = _filter(asked if isinstance(asked, dict) else {})
        honoured: dict[str, Any] = {CHANGES[kind]: True for kind in kinds}

        def stamped(message: Message) -> None:
            params = message.get("params") or {}
            sink({**message, "params": {**params, "_meta": {**(params.get("_meta") or {}), **meta}}})

        async with AsyncExitStack() as subscriptions:
            with ExitStack() as listening:
                for uri in sorted(uris):
                    if await self._listeners.subscribe(uri) is None:
                        subscriptions.push_async_callback(self._listeners.unsubscribe, uri)
                listening.enter_context(self._listeners.listening(Listener(stamped, kinds, uris)))
                if uris:
                    honoured["resourceSubscriptions"] = sorted(uris)
                params = {"notifications": honoured, "_meta": meta}
                sink({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})
                await self._listeners.over.wait()
        return self._newer(peer, request, eras.result(request, {"_meta": meta}))


def status_of(answer: Message) -> int:
    """The HTTP status that goes with an answer of the newer era (transports: streamable HTTP)."""
    told = answer.get("error")
    return ERROR_CODE_HTTP_STATUS.get(told.get("code", 0), 200) if isinstance(told, dict) else 200


def _filter(asked: Message) -> tuple[frozenset[str], frozenset[str]]:
    uris = asked.get("resourceSubscriptions")
    kinds = frozenset(kind for kind, member in CHANGES.items() if asked.get(member) is True)
    return kinds, frozenset(uri for uri in uris if isinstance(uri, str)) if isinstance(uris, list) else frozenset()
