"""One call as rules see it: effective hints, groups, counters, and the CEL variables made when first needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from broker.domain.calls import ToolCall
from broker.domain.servers import Hints, Server, effective_hints
from broker.policy.access import standing_of
from broker.policy.model import Facts, Policy
from broker.policy.rules import Counter, Match
from broker.policy.ruleset import RuleSet, ruleset
from broker.policy.titles import value_at


class Context:
    """Everything that a rule may ask about one call. `groups` None: those of the caller, else those of the directory."""

    def __init__(
        self, policy: Policy, call: ToolCall, facts: Facts, server: Server, groups: tuple[str, ...] | None = None
    ) -> None:
        self.policy = policy
        self.rules: RuleSet = ruleset(policy)
        self.call = call
        self.facts = facts
        self.server = server
        self.arguments = call.arguments
        self.groups = groups_of(policy, call) if groups is None else groups
        self._group_set = frozenset(self.groups)
        # Not `cached_property`, which takes a lock each time (before Python 3.12).
        self._hints: Hints | None = None
        self._activation: Any = None

    @property
    def hints(self) -> Hints:
        """What the tool does: the operator's facts, which the server's own claims can only tighten."""
        if self._hints is None:
            claims = self.facts.definition.annotations if self.facts.definition is not None else {}
            self._hints = effective_hints(self.server.tools.get(self.call.tool), claims)
        return self._hints

    def unmet(self, match: Match) -> str:
        """Return the first key of a match that does not hold, empty when all do. (Server and tool are the index's.)"""
        if match.hints and any(getattr(self.hints, name) is not wanted for name, wanted in match.hints):
            return "hints"
        if match.env and self.rules.environment not in match.env:
            return "env"
        return self._unmet_groups(match) or self._unmet_names(match) or (self._unmet_place(match) if match.placed else "")

    def _unmet_groups(self, match: Match) -> str:
        groups = self._group_set
        if match.groups_any and groups.isdisjoint(match.groups_any):
            return "groups_any"
        if match.groups_all and not groups >= match.groups_all:
            return "groups_all"
        return "groups_none" if match.groups_none and not groups.isdisjoint(match.groups_none) else ""

    def _unmet_names(self, match: Match) -> str:
        caller = self.call.caller
        if match.users and not match.users.has(caller.user):
            return "users"
        if match.clients and not match.clients.has(caller.client):
            return "clients"
        return "workloads" if match.workloads and not match.workloads.has(caller.workload) else ""

    def _unmet_place(self, match: Match) -> str:
        """What nobody vouches for is no surface and no conversation: it meets no name, not even `*`."""
        surface, conversation = self.call.caller.surface, self.call.caller.conversation
        if match.surfaces and not (surface and match.surfaces.has(surface)):
            return "surfaces"
        if match.conversations and not (conversation and match.conversations.has(conversation)):
            return "conversations"
        if surface and match.not_surfaces.has(surface):
            return "not_surfaces"
        return "not_conversations" if conversation and match.not_conversations.has(conversation) else ""

    def counted(self, counter: Counter) -> float | None:
        """What this call adds to a counter; None when its amount can't be told."""
        match = counter.match
        if not match.covers(self.call.server, self.call.tool) or self.unmet(match):
            return 0.0
        if not counter.sum:
            return 1.0
        amount = value_at(self.arguments, counter.sum)
        good = isinstance(amount, (int, float)) and not isinstance(amount, bool) and math.isfinite(amount) and amount >= 0
        return float(amount) if good else None

    @property
    def activation(self) -> Any:
        """The CEL variables. A counter that is not known, or not for this call, is left out: to use it is an error."""
        if self._activation is None:
            values: dict[str, Any] = {}
            for root in self.rules.candidates(self.call.server, self.call.tool).roots:
                values.update(_VALUES[root](self))
            self._activation = self.rules.engine.Activation(values)
        return self._activation

    def known_sums(self) -> dict[str, float]:
        """The counters that are known, and for this call."""
        touched = self.rules.candidates(self.call.server, self.call.tool).counters
        sums = self.facts.counters
        return {one.name: float(sums[one.name]) for one in touched if one.name in sums and self.counted(one) is not None}


def groups_of(policy: Policy, call: ToolCall) -> tuple[str, ...]:
    return standing_of(policy, call.caller)


def _of_caller(context: Context) -> dict[str, Any]:
    caller = context.call.caller
    return {
        "caller.user": caller.user,
        "caller.workload": caller.workload,
        "caller.groups": list(context.groups),
        "caller.surface": caller.surface,
        "caller.conversation": caller.conversation,
    }


def _of_tool(context: Context) -> dict[str, Any]:
    hints = context.hints
    return {
        "tool.name": context.call.tool,
        "tool.known": context.facts.known,
        "tool.read_only": hints.read_only,
        "tool.destructive": hints.destructive,
        "tool.idempotent": hints.idempotent,
        "tool.open_world": hints.open_world,
    }


def _consts(context: Context) -> dict[str, Any]:
    consts = context.rules.consts
    return {f"consts.{name}": list(value) if isinstance(value, tuple) else value for name, value in consts.items()}


# The CEL variables by their first words; all of `conditions.VARIABLES`, constants and counters stand here.
_VALUES: Mapping[str, Callable[[Context], dict[str, Any]]] = {
    "args": lambda context: {"args": context.arguments},
    "caller": _of_caller,
    "client": lambda context: {"client.name": context.call.caller.client, "client.version": context.call.caller.client_version},
    "server": lambda context: {"server.name": context.call.server, "server.trust": context.server.trust.value},
    "tool": _of_tool,
    "env": lambda context: {"env": context.rules.environment},
    "now": lambda context: {"now": context.facts.now},
    "consts": _consts,
    "counters": lambda context: {f"counters.{name}": total for name, total in context.known_sums().items()},
}
