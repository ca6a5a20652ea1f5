"""What people are asked: the approvals of all asking rules, joined so that each of them holds."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from broker.domain.decisions import ApprovalPlan, Escalation, RuleApproval, Severity
from broker.domain.people import People
from broker.domain.reviews import assign
from broker.policy.context import Context
from broker.policy.rules import Approval
from broker.policy.titles import rendered


class Ask(msgspec.Struct, frozen=True):
    """One rule that asks, or a default that does (`rule` is then its word)."""

    rule: str
    approval: Approval
    title: str = ""
    severity: Severity = Severity.MEDIUM
    redact: tuple[str, ...] = ()

    @property
    def step_up(self) -> bool:
        written = self.approval.step_up
        return self.severity is Severity.CRITICAL if written is None else written


def joined(asks: list[Ask], context: Context) -> ApprovalPlan:
    """Return one plan: every requirement of every rule, the shortest time, the union of channels, redactions and step-up.

    The title and the argument to type are those of the most severe rule. The caller's own user decides only where every
    rule leaves it to them, and none wants a passkey.
    """
    step_up = any(ask.step_up for ask in asks)
    ordered = sorted(asks, key=lambda ask: (-ask.severity.rank, ask.rule))
    approvals = [ask.approval for ask in ordered]
    return ApprovalPlan(
        title=titled(next((ask.title for ask in ordered if ask.title), "{server.name}: {tool.name}"), context),
        asks=tuple(sorted((RuleApproval(ask.rule, ask.approval.all_of) for ask in asks), key=lambda ask: ask.rule)),
        timeout=min(approval.timeout for approval in approvals),
        severity=ordered[0].severity,
        channels=tuple(sorted({channel for approval in approvals for channel in approval.channels})),
        show=tuple(dict.fromkeys(path for approval in approvals for path in approval.show)),
        redact=tuple(sorted({path for ask in ordered for path in ask.redact})),
        escalate=_escalations(approvals),
        step_up=step_up,
        caller_confirms=all(approval.caller for approval in approvals) and not step_up,
        type_to_confirm=next((approval.type_to_confirm for approval in approvals if approval.type_to_confirm), ""),
    )


def _escalations(approvals: list[Approval]) -> tuple[Escalation, ...]:
    """Every step, in time: steps of one moment become one."""
    groups: dict[timedelta, set[str]] = {}
    for approval in approvals:
        for step in approval.escalate:
            groups.setdefault(step.after, set()).update(step.to)
    return tuple(Escalation(after, tuple(sorted(groups[after]))) for after in sorted(groups))


def titled(template: str, context: Context) -> str:
    """Return a title for this call."""
    if "{" not in template:
        return template
    call = context.call
    names = {"caller.user": call.caller.user, "tool.name": call.tool, "server.name": call.server}
    return rendered(template, names, context.arguments)


def unsatisfiable(plan: ApprovalPlan, people: People, requesters: frozenset[str]) -> str:
    """Return which requirement nobody can meet, empty when all can be met.

    The requester and the agent's owner don't count. A group that an outside directory fills has members nobody here knows.
    """
    if plan.caller_confirms and requesters:
        return ""
    for ask in plan.asks:
        told = _short(ask, people, requesters)
        if told:
            return told
    return ""


def _short(ask: RuleApproval, people: People, requesters: frozenset[str]) -> str:
    closed = [need for need in ask.all_of if not _filled_outside(people, need.group)]
    members = {need.group: sorted(people.members(need.group) - requesters) for need in closed}
    for need in closed:
        if len(members[need.group]) < need.count:
            return f"rule `{ask.rule}` asks {need.count} of `{need.group}`, where {len(members[need.group])} may approve"
    slots = [members[need.group] for need in closed for _ in range(need.count)]
    if len(assign(slots)) < len(slots):
        return f"rule `{ask.rule}` asks {len(slots)} different people, and its groups don't have them"
    return ""


def _filled_outside(people: People, name: str) -> bool:
    group = people.groups.get(name)
    return group is not None and bool(group.idp or group.slack)
