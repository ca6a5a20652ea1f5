"""What would come of a call, without making it: by the rules that the guard enforces. Nothing is counted, kept or sent.

A forecast is no permission: who acts on it has to make the call through the broker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from broker.approvals.brakes import Brakes, told
from broker.approvals.ports import PolicySource, SeenTool, Tools
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Decision, Deny, Effect, Reason
from broker.errors import UpstreamError
from broker.policy.evaluate import counters_for, evaluate
from broker.policy.model import CounterUse, Facts, Policy
from broker.policy.outlook import Outlook, outlook
from broker.policy.ruleset import ruleset

_OWN = frozenset(("caller", "agent"))


class Sums(Protocol):
    async def read(self, uses: Sequence[CounterUse]) -> Mapping[str, float]:
        """Return the sums of earlier calls by counter name. Raises `StoreUnavailable`."""
        ...


Offered = Callable[[str], Awaitable[Sequence[str]]]
"""The names of the tools that a server offers. Raises an `UpstreamError`."""


class Forecaster:
    """Judges calls that nobody makes."""

    def __init__(
        self, policies: PolicySource, tools: Tools, counters: Sums, offered: Offered, *, clock: Callable[[], datetime],
        brakes: Brakes = Brakes(),  # noqa: B008 - frozen, and brakes nothing
    ) -> None:  # fmt: skip
        self._policies = policies
        self._tools = tools
        self._counters = counters
        self._offered = offered
        self._clock = clock
        self._brakes = brakes

    async def call(self, call: ToolCall, *, own: bool) -> Decision:
        """Return what the guard would decide about a call with these arguments.

        Counters are read only where they are the asker's `own`: what others have spent is nobody's to find out, and a counter
        that is not read tightens. Raises `PolicyInvalid`, `StoreUnavailable`.
        """
        policy = self._policies.current
        seen = await self._seen(policy, call)
        if isinstance(seen, Deny):
            return seen
        sums = await self._counters.read(_own_counters(policy, call)) if own else {}
        return evaluate(policy, call, Facts(self._clock(), seen.known, seen.definition, sums))

    async def tool(self, server: str, tool: str, caller: Caller) -> Outlook:
        """Return what may come of a tool, whatever the arguments. Raises as `call`."""
        policy, call = self._policies.current, ToolCall(server, tool, {"name": tool}, caller)
        seen = await self._seen(policy, call)
        if isinstance(seen, Deny):
            return Outlook(frozenset((Effect.DENY,)), seen)
        return outlook(policy, call, Facts(self._clock(), seen.known, seen.definition))

    async def server(self, server: str, caller: Caller) -> Mapping[str, Outlook]:
        """Return what may come of every tool that the policy or the server names. Raises as `call`."""
        entry = self._policies.current.servers.get(server)
        if entry is None:
            return {}
        try:
            offered = await self._offered(server)
        except UpstreamError:
            offered = ()
        return {tool: await self.tool(server, tool, caller) for tool in sorted({*entry.tools, *offered})}

    async def _seen(self, policy: Policy, call: ToolCall) -> SeenTool | Deny:
        """The tool as the guard sees it, or why every call of it is denied."""
        stop = self._brakes.stop(call.caller)
        if stop is not None:
            return _deny(policy, "stopped", told(stop))
        if call.server not in policy.servers or not call.caller.may_use(call.server):
            return _deny(policy, "unknown_server", "the server is not in the catalogue, or not for this caller")
        try:
            return await self._tools.look(call.server, call.tool)
        except UpstreamError as error:
            return _deny(policy, "unreachable", error.message)


def _deny(policy: Policy, rule: str, text: str) -> Deny:
    return Deny(policy=policy.digest, rules=(rule,), reasons=(Reason(rule, text),))


def _own_counters(policy: Policy, call: ToolCall) -> list[CounterUse]:
    counters = ruleset(policy).counters
    return [use for use in counters_for(policy, call) if _OWN & set(counters[use.name].key)]
