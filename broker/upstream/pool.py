"""Connections to servers over HTTP/1.1, kept open for a moment for the next message."""

from __future__ import annotations

import asyncio

from broker.outgoing import Reach, dialled, verified
from broker.upstream.wire import Origin, Wire

# Idle connections are kept for less than the 5 s after which many servers close theirs: a message that meets a closing
# connection is a message with an unknown end.
IDLE = 4.0


class Pool:
    """As many connections as are asked for, to where `reach` permits. `within` is the seconds that one may take to be made.

    Without `kept` each message gets a fresh one.
    """

    def __init__(self, reach: Reach, *, within: float, kept: bool) -> None:
        self._reach = reach
        self._within = within
        self._kept = kept
        self._wires: set[Wire] = set()
        self._idle: dict[Origin, list[Wire]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    def idle(self, origin: Origin) -> Wire | None:
        """Return a connection that is open already, the one that was used last."""
        waiting = self._idle.get(origin)
        while waiting:
            wire = waiting.pop()
            if not wire.closing and asyncio.get_running_loop().time() - wire.idle_since < IDLE:
                return wire
            wire.abort()
        return None

    async def fresh(self, origin: Origin) -> Wire:
        """Return a new connection. Raises `OSError`: nothing was sent."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._within):
            tls = await asyncio.to_thread(verified) if origin.tls else None
            sock = await dialled(self._reach, origin.host, origin.port)
            name = origin.host.rstrip(".") if tls else None
            try:
                _, wire = await loop.create_connection(
                    lambda: Wire(origin, self._free, self._lost), sock=sock, ssl=tls, server_hostname=name
                )
            except BaseException:
                sock.close()
                raise
        self._wires.add(wire)
        return wire

    async def close(self) -> None:
        """Close all, also those that are in use."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for wire in tuple(self._wires):
            wire.abort()
        while self._wires:
            self._empty.clear()
            await self._empty.wait()

    def _free(self, wire: Wire) -> None:
        if not self._kept:
            wire.abort()
            return
        loop = asyncio.get_running_loop()
        wire.idle_since = loop.time()
        self._idle.setdefault(wire.origin, []).append(wire)
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE, self._sweep)

    def _lost(self, wire: Wire) -> None:
        self._wires.discard(wire)
        waiting = self._idle.get(wire.origin)
        if waiting and wire in waiting:
            waiting.remove(wire)
        if not self._wires:
            self._empty.set()

    def _sweep(self) -> None:
        """Close what nobody has used for long, and look again while something is left."""
        self._sweeping = None
        loop = asyncio.get_running_loop()
        old = loop.time() - IDLE
        for origin, waiting in tuple(self._idle.items()):
            for wire in waiting:
                if wire.idle_since <= old:
                    wire.abort()
            self._idle[origin] = [wire for wire in waiting if wire.idle_since > old]
        self._idle = {origin: waiting for origin, waiting in self._idle.items() if waiting}
        if self._idle:
            self._sweeping = loop.call_later(IDLE, self._sweep)
