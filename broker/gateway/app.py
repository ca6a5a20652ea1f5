"""The gateway: `/mcp/<server>`, and `/mcp` for all, as an ASGI app. It works on the envelope; only calls are judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from broker.domain.calls import Caller
from broker.domain.peers import brings_token
from broker.domain.servers import Server
from broker.errors import BrokerError, Malformed, Unauthenticated
from broker.gateway.calls import Calls
from broker.gateway.confirming import Confirming, is_asked
from broker.gateway.doorway import Doorway
from broker.gateway.envelope import INTERNAL_ERROR, INVALID_REQUEST, Message, encoded, parsed
from broker.gateway.eras import (
    HANDSHAKE,
    MODERN,
    TASK_REQUESTS,
    check_headers,
    check_method,
    client_of,
    elicits,
    may_pass,
    takes_tasks,
    without_tasks,
)
from broker.gateway.exchange import ClientGone, Exchange, Receive, Scope, Send, Watch
from broker.gateway.heads import Head, check_host, check_media, head_of
from broker.gateway.holding import Attendances, Hold
from broker.gateway.joint import NOWHERE, JointAddress
from broker.gateway.lasting import Lasting
from broker.gateway.lists import Edit, tools_shown, with_our_tasks
from broker.gateway.lists import without_tasks as tasks_taken_out
from broker.gateway.passing import Passing
from broker.gateway.ports import (
    Authenticate,
    Barred,
    Catalogue,
    Challenge,
    Failed,
    Forwarder,
    Judge,
    Lines,
    Names,
    Note,
    Schemas,
    Sized,
    Waiting,
    admit_all,
    bare_challenge,
    nobody_counts,
    nobody_measures,
    nothing_noted,
)
from broker.gateway.results import rpc_error, status_of
from broker.gateway.rounds import Rounds
from broker.gateway.sessions import EVENT_PREFIX, Seals, Session
from broker.gateway.streams import Sessions, listened
from broker.gateway.subscriptions import Subscriptions
from broker.gateway.tasks import Tasks
from broker.gateway.visits import Visit
from broker.gateway.voices import USUAL_PACE, Pace

log = structlog.get_logger()

PREFIX = "/mcp"
_NO_HEAD = Head()
_NO_MESSAGE = Message({}, "", None, {}, b"")


class Gateway:
    """The ASGI app for `/mcp` and every path under it.

    `key` seals session and event ids: the same at all brokers, and after a restart. `hosts` are the names by which it may
    be spoken to, without ports. `hold` and `pace` are in seconds, `body_limit` in bytes. `challenge` is what a 401 says in
    `WWW-Authenticate`. `kept` is how long a finished answer waits for its caller, `page` the address of the pages for people.
    `sized` hears of lists of tools as they are shown, `failing` of mistakes by their code, `note` writes an audit event.
    """

    def __init__(  # noqa: PLR0913 - the door of the house: whatever a call may need is handed in here, by name
        self, *, authenticate: Authenticate, catalogue: Catalogue, names: Names, judge: Judge, desk: Waiting, lines: Lines,
        forwarder: Forwarder, schemas: Schemas, clock: Callable[[], datetime], key: bytes, broker: str,
        hosts: Collection[str], hold: float = 45.0, pace: Pace = USUAL_PACE, body_limit: int = 1 << 20,
        challenge: Challenge = bare_challenge,
        kept: timedelta = timedelta(minutes=15), page: str = "", barred: Barred = admit_all,
        sized: Sized = nobody_measures, failing: Failed = nobody_counts, note: Note = nothing_noted,
    ) -> None:  # fmt: skip
        self._sized = sized
        self._failing = failing
        self._door = Doorway(authenticate, catalogue, barred, note, clock)
        self._judge = judge
        self._forwarder = forwarder
        self._hosts = frozenset(host.lower() for host in hosts)
        self._body_limit = body_limit
        self._challenge = challenge
        self._seals = Seals(key)
        self._passing = Passing(forwarder, self._seals)
        self._attendances = Attendances(desk, lines, clock)
        self._sessions = Sessions(desk, forwarder)
        self._lasting = Lasting(self._still)
        self._watch = Watch()
        rounds = Rounds(desk, judge, self._seals, clock, kept, broker)
        self._tasks = Tasks(self._attendances, clock, kept, rounds)
        self._subscriptions = Subscriptions(self._passing, self._tasks, self._still)
        self._confirming = Confirming(desk, self._seals, clock, page=page, mask_key=key)
        self._calls = Calls(
            judge, self._passing, self._attendances, seals=self._seals, schemas=schemas, broker=broker, hold=hold, pace=pace,
            parking=self._sessions.parked, begun=self._tasks.begun,
            confirming=self._confirming, rounds=rounds, failing=failing,
        )  # fmt: skip
        self._joint = JointAddress(self._visited, names=names, door=self._door, desk=desk, seals=self._seals)

    def drain(self) -> None:
        """Shutdown has begun: everybody who waits is answered PENDING, now, and streams without an end are ended."""
        self._attendances.drain()
        self._lasting.drain()

    async def close(self) -> None:
        """Give up what still waits in the background."""
        await self._sessions.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request. Never raises for what a client or an upstream may send."""
        exchange, head = Exchange(scope, receive, send, self._watch), _NO_HEAD
        try:
            head = head_of(scope)
            hold = await self._served(exchange, head)
            if hold is not None:
                scope["headers"].clear()  # of the server too: nobody reads them any more, and there may be thousands
                head = _NO_HEAD
                await hold.run(self._attendances)
            elif exchange.closing:
                await exchange.finish()
        except ClientGone:
            return
        except BrokerError as error:
            await self._refused(exchange, head, error)
        except Exception:
            log.exception("gateway.failed", path=scope["path"], traceparent=head.trace)
            if not exchange.started:
                await exchange.reply(500, _error(None, {"code": INTERNAL_ERROR, "message": "the broker failed"}))

    async def _served(self, exchange: Exchange, head: Head) -> Hold | None:
        """Answer, or return the hold that will.

        A parked call waits in as few frames as can be, with nothing of its message: there may be thousands.
        """
        check_host(head, self._hosts)
        name = exchange.scope["path"].removeprefix(PREFIX).removeprefix("/")
        caller = await self._door.caller(head, exchange.scope.get("client"), name)
        server = await self._door.entered(name, caller) if name else NOWHERE
        session = self._session(head, caller, server) if name else None
        visit = Visit(exchange, head, server, caller, _NO_MESSAGE, head.version, session)
        if not name:
            visit = self._joint.entered(visit)
        if exchange.scope["method"] == "POST":
            visit = await self._arrived(visit)
        self._door.check(visit)
        return await (self._visited(visit) if name else self._joint.visited(visit))

    def _visited(self, visit: Visit) -> Coroutine[Any, Any, Hold | None]:
        """The way at one server's own address."""
        match visit.exchange.scope["method"]:
            case "POST":
                return self._posted(visit)
            case "GET":
                return self._listened(visit)
            case method:
                return self._ended(visit, method)

    async def _ended(self, visit: Visit, method: str) -> None:
        if method == "DELETE":
            await self._sessions.end(visit)
        else:
            await visit.exchange.reply(405, headers=[(b"allow", b"POST, GET, DELETE")])

    async def _still(self, visit: Visit) -> None:
        caller = await self._door.caller(visit.head, visit.exchange.scope.get("client"), "")
        if caller.principal != visit.caller.principal:
            raise Unauthenticated("this credential is somebody else's by now")
        self._door.server(visit.server.name, caller)

    def _session(self, head: Head, caller: Caller, server: Server) -> Session | None:
        if not head.session:
            return None
        session = self._seals.open_session(head.session, caller, server.name)
        if session is None or self._sessions.ended(server.name, session.upstream):
            raise Malformed("Session not found", rpc=INVALID_REQUEST, status=404)
        return session

    # -- POST ---------------------------------------------------------------------------------------------

    async def _arrived(self, visit: Visit) -> Visit:
        """Read the message, and who sends it. Raises `Malformed`, `ClientGone`."""
        check_media(visit.head)
        message = parsed(await visit.exchange.body(self._body_limit))
        version = check_headers(visit.head, message)
        name, release = visit.begun_by or client_of(message)
        caller = msgspec.structs.replace(visit.caller, client=name, client_version=release) if name else visit.caller
        tasks = version == MODERN and takes_tasks(message)
        return msgspec.structs.replace(visit, caller=caller, message=message, version=version, tasks=tasks)

    async def _posted(self, visit: Visit) -> Hold | None:
        message = visit.message
        if message.request:
            check_method(visit.version, message, visit.server.methods)
            without_tasks(message)
            return await self._requested(visit)
        if not message.method and is_asked(message.id):
            await self._confirming.heard(visit)
            await visit.exchange.reply(202)
        elif message.method and not self._goes_on(visit):
            await visit.exchange.reply(202)
        else:
            await self._passing.post(visit, visit.headers())
        return None

    async def _requested(self, visit: Visit) -> Hold | None:
        method = visit.message.method
        if method == "tools/call":
            return await self._calls.answer(visit)
        asks = " ".join(elicits(visit.message.params.get("capabilities"))) if method == "initialize" else ""
        client = (visit.caller.client, visit.caller.client_version, asks)
        if method in TASK_REQUESTS and visit.modern:
            await self._tasks.answer(visit)
        elif method == "subscriptions/listen":
            with self._lasting.lasts(visit):
                await self._subscriptions.listen(visit)
        else:
            await self._passing.post(visit, visit.headers(), edit=self._edit(visit), client=client)
        return None

    def _edit(self, visit: Visit) -> Edit | None:
        if visit.message.method == "server/discover":
            return with_our_tasks
        if visit.message.method == "initialize":
            return tasks_taken_out
        return self._shown(visit) if visit.message.method == "tools/list" else None

    def _shown(self, visit: Visit) -> Edit:
        return tools_shown(visit.server.name, visit.caller, self._judge, modern=visit.modern, sized=self._sized)

    def _goes_on(self, visit: Visit) -> bool:
        """A notification goes on if its revision knows it; the cancelling of a parked call ends here: nothing runs yet."""
        message = visit.message
        if not may_pass(visit.version, message.method, visit.server.methods):
            return False
        cancelled = message.params.get("requestId")
        if message.method != "notifications/cancelled" or not isinstance(cancelled, int | str) or not visit.session:
            return True
        return not self._attendances.cancelled((visit.caller.principal, visit.upstream_session, cancelled))

    # -- GET ----------------------------------------------------------------------------------------------

    async def _listened(self, visit: Visit) -> Hold | None:
        if not visit.head.last_event.startswith(EVENT_PREFIX):
            with self._lasting.lasts(visit):
                await listened(visit, self._forwarder, self._shown(visit))
            return None
        place = self._seals.open_event(visit.head.last_event, visit.caller, visit.server.name)
        if place is None or place.session != visit.upstream_session:
            raise Malformed("there is no such event", rpc=INVALID_REQUEST, status=404)
        return await self._calls.resumed(visit, place)

    # -- mistakes -----------------------------------------------------------------------------------------

    async def _refused(self, exchange: Exchange, head: Head, error: BrokerError) -> None:
        self._failing(error.code)
        if exchange.started:
            return
        modern = head.version not in ("", *HANDSHAKE)
        headers = []
        if isinstance(error, Unauthenticated):
            said = self._challenge(exchange.scope["path"], brings_token(head.authorization))
            headers = [(b"www-authenticate", said.encode())]
        body = _error(error.fields.get("id"), rpc_error(error))
        await exchange.reply(status_of(error, modern=modern), body, headers=headers)


def _error(rpc_id: object, error: dict[str, object]) -> bytes:
    return encoded({"jsonrpc": "2.0", "id": rpc_id, "error": error})
