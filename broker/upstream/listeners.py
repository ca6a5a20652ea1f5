"""Who hears what an older server says of its own accord: changed lists and resources, told to everyone who asked for them.

Whose call such a message belongs to can't be told where many share a process, so nothing that holds content goes this way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import anyio

from broker.errors import UpstreamError
from broker.upstream import eras
from broker.upstream.flights import Message, Sink

# The member of `subscriptions/listen`'s filter for each kind of change (2026-07-28).
CHANGES = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
UPDATED = "notifications/resources/updated"


class Peer(Protocol):
    """A server that can be asked: over its pipe, or over HTTP in a session of ours."""

    @property
    def older(self) -> bool: ...

    @property
    def hello(self) -> Message:
        """Its InitializeResult (`older`) or its DiscoverResult."""
        ...

    async def ask(self, request: Message, sink: Sink, owner: Hashable = None) -> Message: ...

    async def tell(self, message: Message) -> None: ...

    async def cancel(self, owner: Hashable, request_id: Any, params: Message) -> None: ...


Peers = Callable[[], Awaitable[Peer]]


class Listener:
    """One who listens: to kinds of changes and to single resources. Both sets may change under it."""

    def __init__(self, sink: Sink, kinds: AbstractSet[str], uris: AbstractSet[str] = frozenset()) -> None:
        self.sink = sink
        self.kinds = kinds
        self.uris = uris

    def wants(self, message: Message) -> bool:
        if message["method"] == UPDATED:
            return (message.get("params") or {}).get("uri") in self.uris
        return message["method"] in self.kinds


class Listeners:
    """All listeners of one server. A resource is subscribed to upstream once, for as long as anyone wants it.

    `over` is set when the server is given up: nothing more will be heard.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._listeners: list[Listener] = []
        self._wanted: Counter[str] = Counter()
        self.over = asyncio.Event()

    def heard(self, message: Message) -> None:
        for listener in tuple(self._listeners):
            if listener.wants(message):
                listener.sink(message)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def subscribe(self, uri: str) -> Message | None:
        """Have the server tell about a resource. Returns its error, None when all is well."""
        self._wanted[uri] += 1
        if self._wanted[uri] > 1:
            return None
        try:
            answer = await self._ask("resources/subscribe", uri)
        except BaseException:
            del self._wanted[uri]  # or nobody would ever subscribe to it again
            raise
        if "error" in answer:
            del self._wanted[uri]
            return answer
        return None

    async def unsubscribe(self, uri: str) -> None:
        self._wanted[uri] -= 1
        if self._wanted[uri] <= 0:
            del self._wanted[uri]
            with anyio.move_on_after(2.0, shield=True), suppress(UpstreamError):
                await self._ask("resources/unsubscribe", uri)

    async def again(self) -> None:
        """The server was started anew and knows nothing of subscriptions."""
        for uri in tuple(self._wanted):
            with suppress(UpstreamError):
                await self._ask("resources/subscribe", uri)

    async def _ask(self, method: str, uri: str) -> Message:
        peer = await self._peers()
        return await peer.ask({"jsonrpc": "2.0", "id": method, "method": method, "params": {"uri": uri}}, eras.ignored)
