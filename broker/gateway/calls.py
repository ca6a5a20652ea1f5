"""`tools/call`: judged before anything leaves, then passed, refused or held. And the waiting tool, which is our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, assert_never

import msgspec

from broker.approvals.desk import Parked
from broker.approvals.guard import Admitted
from broker.domain.calls import ToolCall
from broker.domain.outcomes import Refused
from broker.domain.requests import ApprovalRequest, Origin, RequestId
from broker.errors import BrokerError, Malformed, TooMany, UnknownRequest
from broker.gateway.clients import hold_of
from broker.gateway.confirming import Confirming, is_asked
from broker.gateway.envelope import INVALID_PARAMS, check_judged
from broker.gateway.holding import Attendances, Hold
from broker.gateway.lists import LONGEST_WAIT
from broker.gateway.parameters import checked_parameters
from broker.gateway.passing import Passing, as_event
from broker.gateway.ports import Failed, Judge, Schemas, nobody_counts
from broker.gateway.results import META, WAIT_TOOL, Reply, failed, refused, status_of
from broker.gateway.rounds import Rounds, is_back
from broker.gateway.sessions import Place, Seals
from broker.gateway.visits import Visit
from broker.gateway.voices import Manner, Pace, Pending, Voice

# Waits that one caller may have open by the waiting tool.
MOST_WAITS = 8
LONGEST_KEY = 200
KEY = META + "idempotency-key"
LONGEST_REASON = 300
REASON = META + "reason"
LONGEST_LABEL = 80
BATCH = META + "batch"

Parking = Callable[[Visit, ApprovalRequest], None]


class Calls:
    """Answers `tools/call`."""

    def __init__(  # noqa: PLR0913 - every side of a call meets here: who judges, who holds, who passes it on
        self, judge: Judge, passing: Passing, attendances: Attendances, *, seals: Seals, schemas: Schemas, broker: str,
        hold: float, pace: Pace, parking: Parking, begun: Pending, confirming: Confirming, rounds: Rounds,
        failing: Failed = nobody_counts,
    ) -> None:  # fmt: skip
        self._judge = judge
        self._passing = passing
        self._attendances = attendances
        self._seals = seals
        self._schemas = schemas
        self._broker = broker
        self._hold = hold
        self._pace = pace
        self._parking = parking
        self._begun = begun
        self._confirming = confirming
        self._rounds = rounds
        self._failing = failing
        self._waits: Counter[str] = Counter()

    async def answer(self, visit: Visit) -> Hold | None:
        """Answer one call, or return the hold that will: whoever runs it needs nothing of the visit any more.

        A mistake becomes what the model can read, as long as the answer has not begun otherwise.
        """
        try:
            check_judged(visit.message)
            if is_back(visit.message.params.get("requestState")):
                return await self._acted(visit, await self._rounds.continued(visit, _call_of(visit)))
            if visit.message.params["name"] == WAIT_TOOL:
                return await self._waited_for(visit)
            return await self._judged(visit)
        except BrokerError as error:
            await self._failed(visit, error)
            return None

    async def _judged(self, visit: Visit) -> Hold | None:
        parameters = await checked_parameters(visit, self._schemas) if visit.head.parameters else {}
        call = _call_of(visit)
        if is_asked(visit.message.params.get("requestState")):
            return await self._confirmed(visit, call)
        verdict = await self._judge.admit(call, _origin(visit, self._broker))
        if isinstance(verdict, Admitted):
            await self._passed(visit, parameters, verdict)
            return None
        return await self._acted(visit, verdict)

    async def _acted(self, visit: Visit, verdict: Refused | Parked) -> Hold | None:
        match verdict:
            case Refused():
                await self._replied(visit, Reply(refused(verdict)))
            case Parked():
                self._parking(visit, verdict.request)
                if (question := self._confirming.required(visit, verdict.request)) is None:
                    return self._waiting(visit, verdict.request, joined=verdict.joined)
                await self._replied(visit, question)
            case _:
                assert_never(verdict)
        return None

    async def _passed(self, visit: Visit, parameters: Mapping[str, str], admitted: Admitted) -> None:
        answered, outcome = False, "failed"
        try:
            answered = await self._passing.post(visit, {**visit.headers(), **parameters}, recorded=admitted.recorded)
        except BrokerError as error:
            outcome = error.code
            await admitted.recorded()
            raise
        finally:
            admitted.ended("" if answered else outcome)

    # -- parked -------------------------------------------------------------------------------------------

    async def _confirmed(self, visit: Visit, call: ToolCall) -> Hold:
        """The caller's own user has answered: count it, and hold the call for what comes of it."""
        request = await self._confirming.answered(visit, call.params["requestState"], call)
        return self._waiting(visit, request, joined=False)

    def _waiting(self, visit: Visit, request: ApprovalRequest, *, joined: bool) -> Hold:
        if visit.tasks:
            return self._briefly(visit, request, joined=joined)
        question = b"" if visit.modern else self._confirming.created(visit, request)
        return self._held(visit, request, joined=joined, within=self._patience(visit), question=question)

    def _held(
        self, visit: Visit, request: ApprovalRequest, *, joined: bool, within: float, question: bytes = b"",
        let_go: Callable[[], None] | None = None,
    ) -> Hold:  # fmt: skip
        rpc_id = request.id if visit.message.id is None else visit.message.id
        place = Place(request.id, rpc_id, visit.upstream_session)
        manner = Manner(
            within=within,
            pace=self._pace,
            modern=visit.modern,
            streams=visit.head.takes_stream,
            event_id="" if visit.modern else self._seals.event(place, visit.caller, visit.server.name),
            primes=visit.version >= "2025-11-25",
            question=question,
            asks_back=self._rounds.asking(visit),
        )
        token = visit.message.meta.get("progressToken")
        voice = Voice(rpc_id, token if isinstance(token, int | str) else None, first=_first(visit, request))
        call = (visit.caller.principal, visit.upstream_session, rpc_id) if visit.upstream_session else None
        return Hold(visit.exchange, request, voice, manner, joined=joined, call=call, let_go=let_go)

    def _patience(self, visit: Visit) -> float:
        progress = visit.message.meta.get("progressToken") is not None
        return visit.caller.hold or hold_of(_client(visit)[0], progress=progress, usual=self._hold)

    def _briefly(self, visit: Visit, request: ApprovalRequest, *, joined: bool) -> Hold:
        """Hold a client that takes tasks for a moment: what ends sooner needs no task."""
        manner = Manner(
            within=self._pace.commit_after, pace=self._pace, modern=True, streams=False, pending=self._begun,
            asks_back=self._rounds.asking(visit),
        )  # fmt: skip
        rpc_id = visit.message.id
        return Hold(visit.exchange, request, Voice(rpc_id, None, first=False), manner, joined=joined)

    async def resumed(self, visit: Visit, place: Place) -> Hold:
        """Hold a caller that came back by `GET` to the place where it waited. Raises `UnknownRequest`."""
        request = await self._attendances.desk.fetched(place.request, visit.caller)
        event_id = self._seals.event(place, visit.caller, visit.server.name)
        pace = msgspec.structs.replace(self._pace, commit_after=0.0)
        manner = Manner(within=self._patience(visit), pace=pace, event_id=event_id, primes=True)
        origin = request.origin
        voice = Voice(place.rpc_id, None, first=(origin.rpc_id, origin.session) == (place.rpc_id, place.session))
        return Hold(visit.exchange, request, voice, manner, joined=False)

    # -- the waiting tool ---------------------------------------------------------------------------------

    async def _waited_for(self, visit: Visit) -> Hold:
        arguments = visit.message.params.get("arguments", {})
        wanted, within = arguments.get("request_id"), arguments.get("wait_seconds", LONGEST_WAIT)
        if not isinstance(wanted, str) or isinstance(within, bool) or not isinstance(within, int | float):
            raise Malformed("`request_id` has to be a string, `wait_seconds` a number", rpc=INVALID_PARAMS)
        request = await self._attendances.desk.fetched(RequestId(wanted), visit.caller)
        if request.call.server != visit.server.name:
            raise UnknownRequest(wanted)
        let_go = self._one_wait(visit.caller.principal)
        within = min(max(within, 0.0), LONGEST_WAIT, self._patience(visit))
        return self._held(visit, request, joined=False, within=within, let_go=let_go)

    def _one_wait(self, principal: str) -> Callable[[], None]:
        """Take one of the caller's waits, and return what gives it back. Raises `TooMany`."""
        if self._waits[principal] >= MOST_WAITS:
            raise TooMany(f"this caller already waits {MOST_WAITS} times: let one of them end first")
        self._waits[principal] += 1

        def let_go() -> None:
            self._waits[principal] -= 1
            if not self._waits[principal]:
                del self._waits[principal]

        return let_go

    # -- answers of our own -------------------------------------------------------------------------------

    async def _replied(self, visit: Visit, reply: Reply) -> None:
        await visit.exchange.reply(reply.status(modern=visit.modern), reply.encoded(visit.message.id))

    async def _failed(self, visit: Visit, error: BrokerError) -> None:
        self._failing(error.code)
        reply, exchange = failed(error), visit.exchange
        if exchange.started:
            await exchange.write(as_event(reply.encoded(visit.message.id)))
            await exchange.write(b"", more=False)
            return
        status = status_of(error, modern=visit.modern) if reply.error is not None else 200
        await exchange.reply(status, reply.encoded(visit.message.id))


def _call_of(visit: Visit) -> ToolCall:
    message, key = visit.message, _said(visit, KEY, LONGEST_KEY)
    params: dict[str, Any] = {name: value for name, value in message.params.items() if name != "_meta"}
    (client, version), caller = _client(visit), visit.caller
    if (client, version) != (caller.client, caller.client_version):
        caller = msgspec.structs.replace(caller, client=client, client_version=version)
    return ToolCall(visit.server.name, message.params["name"], params, caller, key)


def _origin(visit: Visit, broker: str) -> Origin:
    """How the call came in, with why the agent says it calls and with what together: shown as unverified, judged by nobody."""
    return visit.origin(broker, stated=_said(visit, REASON, LONGEST_REASON), batch=_said(visit, BATCH, LONGEST_LABEL))


def _said(visit: Visit, name: str, longest: int) -> str:
    """Return what the agent put under a name of ours in `_meta`, empty where nothing. Raises `Malformed`."""
    said = visit.message.meta.get(name)
    if said is None and name not in visit.message.meta:
        return ""
    if not isinstance(said, str) or len(said) > longest or not _is_text(said):
        raise Malformed(f"`{name}` has to be a string of at most {longest} characters", rpc=INVALID_PARAMS)
    return said


def _is_text(said: str) -> bool:
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def _client(visit: Visit) -> tuple[str, str]:
    """Return name and version that the client gave, with this request or at its session's beginning."""
    client, version = (visit.session.client, visit.session.version) if visit.session else ("", "")
    return visit.caller.client or client, visit.caller.client_version or version


def _first(visit: Visit, request: ApprovalRequest) -> bool:
    """Is this the caller whose session and id the release goes under? Only it may be asked by the server."""
    origin = request.origin
    return origin.session == visit.upstream_session and origin.rpc_id == visit.message.id and origin.era == visit.version
