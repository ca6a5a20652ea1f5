"""Sessions of the older era at the address of all servers: one towards the client, one towards each server that it meets.

The client's id carries all that it said of itself, so any broker can go on with it; a session with a server is begun when it
is first needed, and lives in this broker. What servers ask goes to the client under ids that name the server.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from broker.domain.servers import Server
from broker.errors import UpstreamUntouched
from broker.gateway.envelope import Message
from broker.gateway.eras import HANDSHAKE
from broker.gateway.exchange import Kept, aside
from broker.gateway.heads import Head
from broker.gateway.joint_streams import answer_of
from broker.gateway.sessions import LONGEST_SESSION, Joint, Seals
from broker.gateway.visits import Visit

# Sessions with servers that are remembered; the one that was not used for longest goes first.
MOST = 10_000


class Begun(msgspec.Struct, frozen=True):
    """A session with one server: its sealed id as the per-server address gave it, empty where there is none, and its revision."""

    session: str
    version: str


Serve = Callable[[Visit], Awaitable[Any]]
"""The way of a message at the address of one server."""


class JointSessions:
    """Begins, remembers and ends what lies behind the joint sessions of this broker's clients."""

    def __init__(self, serve: Serve, seals: Seals) -> None:
        self._serve = serve
        self._seals = seals
        self._begun: OrderedDict[tuple[str, str], asyncio.Task[Begun]] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def begun(self, visit: Visit) -> tuple[str, str]:
        """Return the revision and the sealed id of a session that begins with the message of `visit`. No server hears of it."""
        params = visit.message.params
        asked, told, info = params.get("protocolVersion"), params.get("capabilities"), params.get("clientInfo")
        protocol = asked if asked in HANDSHAKE else HANDSHAKE[-1]
        named = {"name": visit.caller.client, "version": visit.caller.client_version}
        capabilities: dict[str, Any] = told if isinstance(told, dict) else {}
        joint = Joint(secrets.token_urlsafe(12), protocol, capabilities, info if isinstance(info, dict) else named)
        session = self._seals.joint(joint, visit.caller)
        if len(session) > LONGEST_SESSION:
            known: dict[str, Any] = {name: {} for name in ("sampling", "elicitation", "roots") if name in capabilities}
            session = self._seals.joint(Joint(joint.nonce, protocol, known, named), visit.caller)
        return protocol, session

    def ended(self, nonce: str) -> bool:
        return nonce in self._ended

    async def entered(self, visit: Visit, server: Server) -> Visit:
        """Return the visit inside the session with `server`, begun if need be. Raises an `UpstreamError`."""
        key = (_nonce(visit), server.name)
        task = self._begun.get(key)
        if task is None or _failed(task):
            task = self._begun[key] = asyncio.create_task(self._begin(visit, server))
            task.add_done_callback(_failed)
            while len(self._begun) > MOST:
                self._begun.popitem(last=False)
        self._begun.move_to_end(key)
        return self._inside(visit, server, await asyncio.shield(task))

    def met(self, visit: Visit) -> list[str]:
        """The servers with which this joint session has one."""
        return [server for (nonce, server), task in self._begun.items() if nonce == _nonce(visit) and not _failed(task)]

    def forget(self, visit: Visit, server: str) -> None:
        """The server has ended it: the next message begins another."""
        self._begun.pop((_nonce(visit), server), None)

    def end(self, visit: Visit) -> None:
        for server in self.met(visit):
            self.forget(visit, server)
        self._ended[_nonce(visit)] = None
        while len(self._ended) > MOST:
            self._ended.popitem(last=False)

    def _inside(self, visit: Visit, server: Server, begun: Begun) -> Visit:
        head = msgspec.structs.replace(visit.head, session=begun.session, version=begun.version)
        session = self._seals.open_session(begun.session, visit.caller, server.name) if begun.session else None
        return msgspec.structs.replace(visit, server=server, head=head, session=session, version=begun.version)

    async def _begin(self, visit: Visit, server: Server) -> Begun:
        joint = visit.joint
        assert joint is not None, "only sessions of the older era have something behind them"
        hello = {"protocolVersion": joint.protocol, "capabilities": joint.capabilities, "clientInfo": joint.info}
        kept = await self._said(visit, server, Begun("", ""), "initialize", hello, rpc_id="joint")
        result = answer_of(kept, "joint").get("result")
        version = result.get("protocolVersion") if isinstance(result, dict) else None
        if version not in HANDSHAKE or version > joint.protocol:
            raise UpstreamUntouched(f"{server.name} does not begin a session")
        begun = Begun(kept.session, version)
        await self._said(visit, server, begun, "notifications/initialized", {})
        return begun

    async def _said(
        self, visit: Visit, server: Server, begun: Begun, method: str, params: dict[str, Any], *, rpc_id: str | None = None
    ) -> Kept:  # fmt: skip
        exchange, kept = aside(visit.exchange)
        body = {"jsonrpc": "2.0", "method": method, "params": params} | ({"id": rpc_id} if rpc_id is not None else {})
        told = Head(accept="application/json, text/event-stream", media="application/json", trace=visit.head.trace)
        inside = self._inside(msgspec.structs.replace(visit, head=told), server, begun)
        message = Message(body, method, rpc_id, params, b"")
        await self._serve(msgspec.structs.replace(inside, exchange=exchange, message=message))
        return kept


def _nonce(visit: Visit) -> str:
    return visit.joint.nonce if visit.joint is not None else ""


def _failed(task: asyncio.Task[Begun]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
