"""`/mcp`: one address for every server that a caller may use, for clients that take one entry.

Tools and prompts have their server's name in front: `server__tool`. Each message is handed to the way of its server's own
address under the real names: what is judged, shown and sent is the same as there, and nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import anyio
import msgspec

from broker import __version__
from broker.domain.calls import Caller
from broker.domain.requests import RequestId
from broker.domain.servers import Server, split_name
from broker.errors import BrokerError, Forbidden, Malformed, UnknownRequest, UnknownServer
from broker.gateway.confirming import is_asked
from broker.gateway.doorway import Doorway
from broker.gateway.envelope import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Message
from broker.gateway.eras import MODERN, TASK_REQUESTS, check_method, wrapped
from broker.gateway.exchange import aside
from broker.gateway.holding import Hold
from broker.gateway.joint_lists import KINDS, WITHIN, JointLists
from broker.gateway.joint_sessions import JointSessions, Serve
from broker.gateway.joint_streams import mark_of, rewriting
from broker.gateway.lists import LONGEST_KEPT, with_our_tasks
from broker.gateway.ports import Waiting
from broker.gateway.results import WAIT_TOOL, Reply, Result, rpc_error
from broker.gateway.sessions import Seals, Session
from broker.gateway.visits import Visit

NOWHERE = Server("")
_INFO = {"name": "approval-broker", "version": __version__}
_CAPABILITIES: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
_INSTRUCTIONS = (
    "Tools and prompts of several servers; each name begins with its server's: SERVER__NAME. Sensitive calls wait for people: "
    f"a call that answers PENDING has not run yet, and `{WAIT_TOOL}` returns its result later."
)
# What needs one server's own address: it has a server's state, or its stream, behind it.
_NOT_HERE = ("subscriptions/listen", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")
_ALLOW = (b"allow", b"POST, DELETE")
# Notifications that every server of the session hears: an id of another's call means nothing to it.
_FOR_ALL = ("notifications/cancelled", "notifications/roots/list_changed")


class JointAddress:
    """Answers what comes to the address of all servers. `serve` is the way of one server's own address.

    `names` are the servers of the catalogue, `door` finds one for a caller.
    """

    def __init__(self, serve: Serve, *, names: Callable[[], Collection[str]], door: Doorway, desk: Waiting, seals: Seals) -> None:
        self._serve = serve
        self._names = names
        self._door = door
        self._desk = desk
        self._seals = seals
        self._sessions = JointSessions(serve, seals)
        self._lists = JointLists(serve, self._sessions)

    def entered(self, visit: Visit) -> Visit:
        """Return the visit in the session that its head names. Raises `Malformed` for one that is foreign or has ended."""
        if not visit.head.session:
            return visit
        joint = self._seals.open_joint(visit.head.session, visit.caller)
        if joint is None or self._sessions.ended(joint.nonce):
            raise Malformed("Session not found", rpc=INVALID_REQUEST, status=404)
        return msgspec.structs.replace(visit, joint=joint)

    async def visited(self, visit: Visit) -> Hold | None:
        """Answer what came, or return the hold that will."""
        match visit.exchange.scope["method"]:
            case "POST":
                return await self._posted(visit)
            case "GET":
                return await self._listened(visit)
            case "DELETE":
                await self._ended(visit)
            case _:
                await visit.exchange.reply(405, headers=[_ALLOW])
        return None

    async def _posted(self, visit: Visit) -> Hold | None:
        message = visit.message
        if not message.request:
            await self._heard(visit)
            return None
        check_method(visit.version, message)
        try:
            return await self._requested(visit)
        except Malformed as error:
            await _reply(visit, Reply(error=rpc_error(error)))
            return None

    async def _listened(self, visit: Visit) -> Hold | None:
        """A `GET` brings a client back to a call that it waits for; there is no other stream."""
        for server in self._usable(visit.caller):
            place = self._seals.open_event(visit.head.last_event, visit.caller, server.name)
            if place is not None:
                session = Session(place.session)
                return await self._passed(msgspec.structs.replace(visit, server=server, session=session), server)
        mark = mark_of(visit.head.last_event)
        if mark is None or visit.joint is None or mark.server not in self._sessions.met(visit):
            await visit.exchange.reply(405, headers=[_ALLOW])
            return None
        inside = await self._inside(visit, self._door.server(mark.server, visit.caller))
        head = msgspec.structs.replace(inside.head, last_event=str(mark.id))
        return await self._passed(msgspec.structs.replace(inside, head=head), inside.server)

    async def _ended(self, visit: Visit) -> None:
        """Answer a `DELETE`: the sessions behind this one end as at their own addresses."""
        if visit.joint is not None:
            await self._told(visit)
            self._sessions.end(visit)
        await visit.exchange.reply(200)

    # -- requests -----------------------------------------------------------------------------------------

    async def _requested(self, visit: Visit) -> Hold | None:
        method = visit.message.method
        if method == "initialize":
            await self._begun(visit)
        elif method in ("ping", "server/discover"):
            await _reply(visit, Reply(_discovered() if method == "server/discover" else {}))
        elif method in KINDS:
            await _reply(visit, Reply(await self._lists.listed(visit, self._usable(visit.caller))))
        elif method in _NOT_HERE:
            raise _elsewhere(f"`{method}` is not offered at this address: use the server's own, /mcp/SERVER")
        else:
            return await self._handed_on(visit)
        return None

    async def _handed_on(self, visit: Visit) -> Hold | None:
        method, params = visit.message.method, visit.message.params
        if method in TASK_REQUESTS:
            return await self._about(visit, params.get("taskId"))
        if method == "tools/call" and params.get("name") == WAIT_TOOL:
            arguments = params.get("arguments")
            return await self._about(visit, arguments.get("request_id") if isinstance(arguments, dict) else None)
        if method in ("tools/call", "prompts/get"):
            return await self._named(visit, params.get("name"))
        if method == "completion/complete":
            return await self._completed(visit)
        return await self._on(visit, await self._owner(visit, params.get("uri")))

    async def _begun(self, visit: Visit) -> None:
        protocol, session = self._sessions.begun(visit)
        told = {"protocolVersion": protocol, "capabilities": _CAPABILITIES, "serverInfo": _INFO}
        result = {**told, "instructions": _INSTRUCTIONS}
        await _reply(visit, Reply(result), session)

    async def _named(self, visit: Visit, name: Any) -> Hold | None:
        """Hand on what names a tool or a prompt, under the name that its server gave it."""
        server, own = await self._split(visit, name)
        params = {**visit.message.params, "name": own}
        head = msgspec.structs.replace(visit.head, name=wrapped(own) if visit.modern else visit.head.name)
        return await self._on(msgspec.structs.replace(visit, head=head, message=_with(visit.message, params)), server)

    async def _completed(self, visit: Visit) -> Hold | None:
        params = visit.message.params
        ref = params.get("ref")
        if not isinstance(ref, dict) or ref.get("type") != "ref/prompt":
            return await self._on(visit, await self._owner(visit, ref.get("uri") if isinstance(ref, dict) else None))
        server, own = await self._split(visit, ref.get("name"))
        params = {**params, "ref": {**ref, "name": own}}
        return await self._on(msgspec.structs.replace(visit, message=_with(visit.message, params)), server)

    async def _about(self, visit: Visit, request_id: Any) -> Hold | None:
        """Hand on what is about a request of this caller's; where there is none, the ways below say so themselves."""
        try:
            request = await self._desk.fetched(RequestId(request_id if isinstance(request_id, str) else ""), visit.caller)
            server = self._door.server(request.call.server, visit.caller)
        except (UnknownRequest, UnknownServer, Forbidden):
            return await self._passed(visit, NOWHERE)
        return await self._on(visit, server)

    async def _on(self, visit: Visit, server: Server) -> Hold | None:
        return await self._passed(await self._inside(visit, server), server)

    async def _inside(self, visit: Visit, server: Server) -> Visit:
        if visit.modern:
            return msgspec.structs.replace(visit, server=server)
        return await self._sessions.entered(visit, server)

    async def _passed(self, visit: Visit, server: Server) -> Hold | None:
        if not visit.modern:
            visit.exchange.rewrite(rewriting(server.name, is_asked))
        hold: Hold | None = await self._serve(visit)
        if visit.exchange.status == 404 and not visit.modern:
            self._sessions.forget(visit, server.name)
        return hold

    # -- which server -------------------------------------------------------------------------------------

    def _usable(self, caller: Caller) -> list[Server]:
        found = []
        for name in sorted(self._names()):
            try:
                found.append(self._door.server(name, caller))
            except (UnknownServer, Forbidden):
                continue
        return found

    async def _split(self, visit: Visit, name: Any) -> tuple[Server, str]:
        """Return server and name behind a joint name. Raises `Malformed` where it leads to none, or to more than one."""
        ways = split_name(name, self._names()) if isinstance(name, str) else []
        if len(ways) == 1:
            [(server, own)] = ways
            try:
                return await self._door.entered(server, visit.caller), own
            except UnknownServer:
                pass
        elif isinstance(name, str):
            await self._door.strayed(name, visit.caller, "there is nothing of this name")
        raise Malformed("there is nothing of this name: names here are SERVER__NAME", rpc=INVALID_PARAMS)

    async def _owner(self, visit: Visit, uri: Any) -> Server:
        """Return the one server that lists a resource, or the only one there is. Raises `Malformed`."""
        if not isinstance(uri, str):
            raise Malformed("`uri` has to be a string", rpc=INVALID_PARAMS)
        usable = self._usable(visit.caller)
        if len(usable) == 1:
            return usable[0]
        owners = set()
        for method in ("resources/list", "resources/templates/list"):
            found = await self._lists.gathered(visit, method, usable)
            owners |= {one.server for one in found if any(key == uri for key, _ in one.entries)}
        if len(owners) == 1:
            return next(server for server in usable if server.name in owners)
        who = "more than one server lists it" if owners else "no server lists it"
        raise _elsewhere(f"{who}: read it at the server's own address, /mcp/SERVER")

    # -- notifications and answers ------------------------------------------------------------------------

    async def _heard(self, visit: Visit) -> None:
        message = visit.message
        if not message.method and (inside := await self._answered(visit)) is not None:
            await self._serve(inside)
            return
        if message.method in _FOR_ALL and visit.joint is not None:
            await self._told(visit)
        await visit.exchange.reply(202)

    async def _answered(self, visit: Visit) -> Visit | None:
        """Return the visit of a client's answer at the server that asked; None where none did."""
        told = visit.message.id
        if is_asked(told):
            servers = (one for one in self._usable(visit.caller) if self._seals.open_asked(str(told), visit.caller, one.name))
            server = next(servers, None)
            return msgspec.structs.replace(visit, server=server) if server else None
        mark = mark_of(told)
        if mark is None or visit.joint is None or mark.server not in self._sessions.met(visit):
            return None
        body = {**visit.message.body, "id": mark.id}
        message = Message(body, "", mark.id, visit.message.params, b"")
        return msgspec.structs.replace(
            await self._inside(visit, self._door.server(mark.server, visit.caller)), message=message
        )  # fmt: skip

    async def _told(self, visit: Visit) -> None:
        """Hand a message to every server of the session, and drop what they answer."""
        async with anyio.create_task_group() as tasks:
            for server in self._usable(visit.caller):
                if server.name in self._sessions.met(visit):
                    tasks.start_soon(self._tell, visit, server)

    async def _tell(self, visit: Visit, server: Server) -> None:
        with anyio.move_on_after(WITHIN), suppress(BrokerError):
            inside = await self._inside(visit, server)
            if inside.session is not None:
                await self._serve(msgspec.structs.replace(inside, exchange=aside(visit.exchange)[0]))


def _discovered() -> Result:
    kept = {"resultType": "complete", "ttlMs": LONGEST_KEPT, "cacheScope": "private"}
    told = {"supportedVersions": [MODERN], "capabilities": dict(_CAPABILITIES), "instructions": _INSTRUCTIONS, **kept}
    return with_our_tasks({**told, "_meta": {"io.modelcontextprotocol/serverInfo": _INFO}})


def _with(message: Message, params: dict[str, Any]) -> Message:
    return msgspec.structs.replace(message, body={**message.body, "params": params}, params=params)


async def _reply(visit: Visit, reply: Reply, session: str = "") -> None:
    headers = [(b"mcp-session-id", session.encode())] if session else []
    body = reply.encoded(visit.message.id)
    await visit.exchange.reply(reply.status(modern=visit.modern), body, headers=headers)


def _elsewhere(text: str) -> Malformed:
    return Malformed(text, rpc=METHOD_NOT_FOUND)
