"""What a server asks back during a release (`asks_back` in the catalogue): handed to the caller, and continued by its answers.

The state that goes with a question is sealed over principal, server and request, and holds the server's own. Answers make a call
of their own, all else in it being the stored call's: it is judged, shown and parked anew, and each question is answered once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from broker.approvals.desk import Parked
from broker.approvals.guard import Admitted
from broker.domain.calls import Caller, ToolCall
from broker.domain.outcomes import Refused, Released
from broker.domain.requests import ApprovalRequest, Origin
from broker.domain.rounds import ANSWERS, STATE, AskedBack, askable, asked_back, bare, continuing
from broker.errors import BrokerError, Malformed, UnknownRequest, WrongMove
from broker.gateway.envelope import INVALID_PARAMS
from broker.gateway.eras import CAPABILITIES_KEY
from broker.gateway.ports import Judge, Waiting
from broker.gateway.results import WAIT_TOOL, Reply, released_marks
from broker.gateway.sessions import BACK_PREFIX, Back, Seals
from broker.gateway.visits import Visit
from broker.gateway.voices import AsksBack


class Rounds:
    """Hands on questions and takes answers. `kept` is how long a question waits for its answer."""

    def __init__(
        self, desk: Waiting, judge: Judge, seals: Seals, clock: Callable[[], datetime], kept: timedelta, broker: str
    ) -> None:  # fmt: skip
        self._desk = desk
        self._judge = judge
        self._seals = seals
        self._clock = clock
        self._kept = kept
        self._broker = broker

    def asking(self, visit: Visit) -> AsksBack | None:
        """How questions reach this caller; None where its server may not ask, or it can't be asked."""
        declared = declared_by(visit)
        if not declared:
            return None
        caller, server = visit.caller, visit.server.name

        def asks_back(request: ApprovalRequest, outcome: Released) -> Reply | None:
            result = msgspec.json.decode(outcome.answer).get("result")
            asked = asked_back(result, declared)
            if asked is None:
                return None
            state = self._sealed(asked, request, caller, server)
            return Reply({**result, STATE: state, "_meta": _marks(result, outcome)})

        return asks_back

    def _sealed(self, asked: AskedBack, request: ApprovalRequest, caller: Caller, server: str) -> str:
        until = (self._clock() + self._kept).timestamp()
        return self._seals.back(Back(request.id, until, asked.state, asked.words), caller, server)

    async def continued(self, visit: Visit, call: ToolCall) -> Parked | Refused:
        """Park the answers that a caller brings, or join them where they wait. Raises `Malformed` for what was not asked."""
        params = visit.message.params
        back = self._seals.open_back(params[STATE], visit.caller, visit.server.name)
        if back is None:
            raise _refused("it was not handed out to this caller")
        if self._clock().timestamp() >= back.until:
            raise _refused("it is too late")
        if not isinstance(params.get(ANSWERS), dict):
            raise _refused(f"`{ANSWERS}` has to be an object")
        try:
            request = await self._desk.fetched(back.request, visit.caller)
        except UnknownRequest:
            raise _refused("there is no such request") from None
        if call.tool != WAIT_TOOL and bare(call).digest() != bare(request.call).digest():
            raise _refused("it belongs to another call")
        call = continuing(request, call.caller, params[ANSWERS], back.state)
        return await self.parked(request, call, msgspec.structs.replace(visit.origin(self._broker), asked=back.asked))

    async def of_task(self, visit: Visit, request: ApprovalRequest, asked: AskedBack) -> Parked | Refused:
        """Park all the answers that a task's client gave. It can be asked what its call said: an update declares tasks alone."""
        origin = msgspec.structs.replace(
            visit.origin(self._broker), capabilities=request.origin.capabilities, log_level=request.origin.log_level,
            asked=asked.words,
        )  # fmt: skip
        return await self.parked(request, continuing(request, visit.caller, request.round.given, asked.state), origin)

    async def parked(self, request: ApprovalRequest, call: ToolCall, origin: Origin) -> Parked | Refused:
        """Have the call judged that continues `request`."""
        try:
            verdict = await self._judge.admit(call, origin, continues=request)
        except WrongMove as error:
            raise _refused(error.message) from None
        if isinstance(verdict, Admitted):
            raise _refused("people have to see it")  # the guard never lets it pass unseen
        return verdict


def declared_by(visit: Visit) -> dict[str, Any]:
    """What the caller can be asked, where its server may ask back; empty where nothing."""
    return askable(visit.message.meta.get(CAPABILITIES_KEY)) if visit.modern and visit.server.asks_back else {}


def is_back(text: Any) -> bool:
    """Was it handed out with a server's question, as far as its beginning says?"""
    return isinstance(text, str) and text.startswith(BACK_PREFIX)


def _marks(result: dict[str, Any], outcome: Released) -> dict[str, Any]:
    meta = result.get("_meta")
    return {**(meta if isinstance(meta, dict) else {}), **released_marks(outcome)}


def _refused(why: str) -> BrokerError:
    return Malformed(f"this answer does not count: {why}", rpc=INVALID_PARAMS)
