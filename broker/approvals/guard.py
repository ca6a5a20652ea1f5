"""The guard: one call in, one answer out. Fails closed: whatever it can't know ends with the call not made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, assert_never

import msgspec

from broker.approvals.brakes import Brakes, RejectedBefore, told
from broker.approvals.desk import Desk, Parked
from broker.approvals.ports import AuditLog, Counters, Health, PolicySource, SeenTool, Tools
from broker.approvals.stops import Stop
from broker.approvals.tally import ALLOWED, ASKED, NOTHING, Tally
from broker.approvals.writing import Writing
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Allow, Decision, Deny, Effect, Reason, RequireApproval
from broker.domain.events import CallDecided, CallEnded
from broker.domain.outcomes import Code, Refused
from broker.domain.requests import ApprovalRequest, Origin
from broker.domain.rounds import ANSWERS, STATE
from broker.domain.servers import ToolDefinition
from broker.errors import Malformed, StoreUnavailable
from broker.policy.evaluate import counters_for, evaluate, shows
from broker.policy.model import Facts, Policy
from broker.policy.outlook import outlook

_CONTINUES = frozenset((ANSWERS, STATE, "task"))


_UNSEEN = SeenTool(known=False, definition=None)
Accepted = Callable[[str, str], bool | None]
"""Is a tool known, as far as can be said at once? None: that can't be said. It must be quick."""


def nobody_knows(server: str, tool: str) -> bool | None:
    """Nothing can be said."""
    return None


Answered = Callable[[CallDecided], None]
"""Hears of an allowed call that was answered with a result. It must be quick, and must not raise."""


Record = Callable[[ToolCall, SeenTool, Mapping[str, float], Decision], None]


class Admitted(msgspec.Struct, frozen=True):
    """The call may pass. Await `recorded()` before the first byte of the answer leaves: its audit event is durable then.

    Tell `ended` what went wrong: nothing where it was answered with a result, else `failed` or a code.
    """

    digest: str
    recorded: Callable[[], Awaitable[None]]
    ended: Callable[[str], object]


class Guard:
    """Judges calls. Built in `app.py` with its stores, catalogue, policy and clock."""

    def __init__(  # noqa: PLR0913 - the guard is where all rooms of the main road meet
        self,
        desk: Desk,
        policies: PolicySource,
        tools: Tools,
        counters: Counters,
        audit: AuditLog,
        health: Health,
        *,
        clock: Callable[[], datetime],
        new_call_id: Callable[[], str],
        broker: str,
        allow_when_store_is_down: bool = False,
        brakes: Brakes = Brakes(),  # noqa: B008 - frozen, and brakes nothing
        record: Record | None = None,
        accepted: Accepted = nobody_knows,
        answered: Sequence[Answered] = (),
    ) -> None:
        """`record` is told of each call that was allowed or denied at once: it must be quick, and must not raise."""
        self._desk = desk
        self._policies = policies
        self._tools = tools
        self._counters = counters
        self._audit = audit
        self._health = health
        self._clock = clock
        self._new_call_id = new_call_id
        self._broker = broker
        self._allow_when_store_is_down = allow_when_store_is_down
        self._brakes = brakes
        self._record = record
        self._accepted = accepted
        self._answered = answered

    async def admit(
        self, call: ToolCall, origin: Origin, *, continues: ApprovalRequest | None = None
    ) -> Admitted | Refused | Parked:  # fmt: skip
        """Evaluate the policy on one call and act on the decision.

        `continues` is the approved request whose server asked back, and that `call` answers: people are asked again in any case.
        Raises `StoreUnavailable` (nothing was sent), `Malformed`, `KeyReused`, `TooMany`, `PolicyInvalid`; anything
        unforeseen is an error too, and no pass.
        """
        if not self._health.up and not self._allow_when_store_is_down:
            raise StoreUnavailable("the broker's store does not answer: the call was not made")
        policy, stop = self._policies.current, self._brakes.stop(call.caller)
        self._brakes.slow(call)  # before the stop: what is refused for that is written down each time
        if stop is not None:
            return await self._refused(call, _stopped(policy, stop), origin)
        uses = counters_for(policy, call)
        tally = Tally(self._counters, self._new_call_id() if uses else "", uses)
        try:
            return await self._acted(call, policy, tally, origin, continues)
        except BaseException:
            with suppress(StoreUnavailable):
                await asyncio.shield(tally.settle(NOTHING))
            raise

    async def _acted(
        self, call: ToolCall, policy: Policy, tally: Tally, origin: Origin, continues: ApprovalRequest | None
    ) -> Admitted | Refused | Parked:  # fmt: skip
        sums = await tally.reserve()
        seen = await self._tools.look(call.server, call.tool)
        decision = self._judged(policy, call, seen, sums)
        if continues is not None:
            decision, origin = _as_before(decision, continues), msgspec.structs.replace(origin, continues=continues.id)
        if isinstance(decision, RequireApproval):
            seen = await self._tools.look(call.server, call.tool, fresh=True)
            decision = _tighter(decision, self._judged(policy, call, seen, sums))
        match decision:
            case Allow():
                await tally.settle(ALLOWED)
                self._recording(call, seen, sums, decision)
                return self._admitted(call, decision, seen, origin)
            case Deny():
                await tally.settle(NOTHING)
                self._recording(call, seen, sums, decision)
                return await self._refused(call, decision, origin, seen)
            case RequireApproval():
                answer = await self._parked(call, decision, seen, origin)
                await tally.settle(ASKED if isinstance(answer, Parked) and not answer.joined else NOTHING)
                return answer
            case _:
                assert_never(decision)

    def shows(self, server: str, tool: str, caller: Caller) -> bool:
        """Might the policy ever let this caller call the tool? What is False here is always denied when called."""
        return shows(self._policies.current, server, tool, caller, known=self._accepted(server, tool) is not False)

    def asks(self, server: str, tool: str, caller: Caller, raw: Mapping[str, Any]) -> str:
        """Are people asked about this caller's calls to a tool that is shown: `always`, `sometimes` or `never`? `raw` is the tool
        as listed. It promises nothing: arguments, counters and what is accepted by then decide about each call.
        """
        facts = Facts(
            self._clock(), known=self._accepted(server, tool) is not False, definition=ToolDefinition(server, tool, dict(raw))
        )
        effects = outlook(self._policies.current, ToolCall(server, tool, {"name": tool}, caller), facts).effects
        if Effect.REQUIRE_APPROVAL not in effects:
            return "never"
        return "sometimes" if Effect.ALLOW in effects else "always"

    # -- the three answers --------------------------------------------------------------------------------

    def _admitted(self, call: ToolCall, decision: Allow, seen: SeenTool, origin: Origin) -> Admitted:
        event = self._decided(call, decision, seen, origin)
        return Admitted(event.digest, Writing(self._audit, event).durable, lambda outcome: self._ended(event, outcome))

    def _ended(self, event: CallDecided, outcome: str) -> None:
        """Write down, for whoever reads the audit, that an allowed call came to nothing. Nobody waits for it."""
        if not outcome:
            for hears in self._answered:
                hears(event)
            return
        Writing(
            self._audit,
            CallEnded(
                at=self._clock(), broker=self._broker, trace=event.trace, caller=event.caller, server=event.server,
                tool=event.tool, digest=event.digest, outcome=outcome,
            ),
        )  # fmt: skip

    async def _refused(self, call: ToolCall, decision: Deny, origin: Origin, seen: SeenTool = _UNSEEN) -> Refused:
        await Writing(self._audit, self._decided(call, decision, seen, origin)).durable()
        why = decision.reasons[0].text if decision.reasons else "no rule allows it"
        return Refused(Code.DENIED, why, decision.reasons)

    async def _parked(self, call: ToolCall, decision: RequireApproval, seen: SeenTool, origin: Origin) -> Refused | Parked:
        _check_new(call, continues=bool(origin.continues))
        check = await self._brakes.before_asking(call)
        try:
            return await self._desk.open(call, decision, seen, origin, before_asking=check)
        except RejectedBefore as error:
            return Refused(Code.REJECTED, f"the same call was rejected a short while ago: {error.message}", decision.reasons)

    def _recording(self, call: ToolCall, seen: SeenTool, sums: Mapping[str, float], decision: Decision) -> None:
        if self._record is not None:
            self._record(call, seen, sums, decision)

    def _judged(self, policy: Policy, call: ToolCall, seen: SeenTool, sums: Mapping[str, float]) -> Decision:
        return evaluate(policy, call, Facts(self._clock(), seen.known, seen.definition, sums))

    # -- the audit ---------------------------------------------------------------------------------------

    def _decided(self, call: ToolCall, decision: Decision, seen: SeenTool, origin: Origin) -> CallDecided:
        return CallDecided(
            at=self._clock(),
            broker=self._broker,
            trace=origin.trace,
            caller=call.caller,
            server=call.server,
            tool=call.tool,
            digest=call.digest(),
            effect=decision.effect.value,
            policy=decision.policy,
            definition=_definition(seen),
            rules=decision.rules,
            errors=tuple(error.rule for error in decision.errors),
            shadow=decision.shadow,
        )


def _definition(seen: SeenTool) -> str:
    """The digest of the tool's definition; one that has none is not known, and is never allowed."""
    try:
        return seen.digest
    except Malformed:
        return ""


def _check_new(call: ToolCall, *, continues: bool) -> None:
    """Raises `Malformed` for what continues a call that nobody here approved: people can't see what it answers."""
    continued = sorted((_CONTINUES - {ANSWERS, STATE} if continues else _CONTINUES) & call.params.keys())
    if continued:
        raise Malformed(f"a call that needs approval can't bring `{'`, `'.join(continued)}`", rpc=-32602)


def _as_before(decision: Decision, continues: ApprovalRequest) -> Decision:
    """What continues a call that people approved is asked again, also where the rules would let it pass by now."""
    if not isinstance(decision, Allow):
        return decision
    return RequireApproval(
        policy=decision.policy, rules=continues.rules, reasons=continues.reasons, shadow=decision.shadow, plan=continues.plan
    )


def _stopped(policy: Policy, stop: Stop) -> Deny:
    return Deny(policy=policy.digest, rules=("stopped",), reasons=(Reason("stopped", told(stop)),))


def _tighter(first: RequireApproval, fresh: Decision) -> Decision:
    """What the definition of this moment says may only tighten what the known one said."""
    return first if isinstance(fresh, Allow) else fresh
