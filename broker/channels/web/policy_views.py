"""Rules as a page shows them: in words, with what they did. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from broker.domain.calls import Caller, ToolCall
from broker.errors import Malformed
from broker.insights.figures import Rule as Hits
from broker.policy.explain import Explanation, explain
from broker.policy.model import Facts, Policy
from broker.policy.rules import Match, Mode, Rule
from broker.policy.ruleset import ruleset


class RuleRow(msgspec.Struct, frozen=True):
    """One rule: what it is about, on which condition, what it does and whom it asks; and how often it did."""

    id: str
    effect: str
    mode: str
    severity: str
    title: str
    about: tuple[tuple[str, str], ...]
    when: str
    unless: str
    asks: tuple[str, ...]
    where: str
    guardrail: bool
    hits: Hits | None


class Trial(msgspec.Struct, frozen=True):
    """One call that somebody tries, as typed."""

    server: str = ""
    tool: str = ""
    arguments: str = "{}"
    user: str = ""
    groups: str = ""

    @property
    def asked(self) -> bool:
        return bool(self.server and self.tool)


def rows(policy: Policy, hits: Sequence[Hits]) -> tuple[RuleRow, ...]:
    """Return every rule, guardrails and denials first, as they decide."""
    by_rule = {one.rule: one for one in hits}
    order = {"deny": 0, "limit": 1, "require_approval": 2, "allow": 3}
    rules = sorted(ruleset(policy).rules, key=lambda rule: (not rule.guardrail, order[rule.effect.value], rule.id))
    return tuple(_row(rule, by_rule.get(rule.id)) for rule in rules)


def _row(rule: Rule, hits: Hits | None) -> RuleRow:
    approval = rule.approval
    asks = tuple(f"{need.count} of {need.group}" for need in approval.all_of) if approval is not None and approval.all_of else ()
    return RuleRow(
        id=rule.id,
        effect=rule.effect.value.replace("_", " "),
        mode=rule.mode.value if rule.mode is not Mode.ENFORCE else "",
        severity=rule.severity.value if rule.severity is not None else "",
        title=rule.title,
        about=tuple(about(rule.match)),
        when=rule.when.text if rule.when is not None else "",
        unless=rule.unless.text if rule.unless is not None else "",
        asks=asks,
        where=rule.where,
        guardrail=rule.guardrail,
        hits=hits,
    )


_NAMES = (
    "server", "tool", "not_tool", "users", "clients", "workloads", "surfaces", "not_surfaces", "conversations",
    "not_conversations",
)  # fmt: skip


def about(match: Match) -> list[tuple[str, str]]:
    """Return which calls a rule is about, key by key as it is written."""
    told = []
    for key in _NAMES:
        written = getattr(match, key).written
        if written:
            told.append((key, ", ".join(written)))
    told += [
        (key, ", ".join(sorted(getattr(match, key))))
        for key in ("groups_any", "groups_all", "groups_none", "env")
        if getattr(match, key)
    ]
    return told + [("hints", ", ".join(f"{name}: {str(value).lower()}" for name, value in match.hints))] * bool(match.hints)


def tried(policy: Policy, trial: Trial, now: datetime, counters: Mapping[str, float] | None = None) -> Explanation:
    """Judge the call of a trial and return what every rule says. Nothing is sent or counted. Raises `Malformed`."""
    try:
        arguments: Any = msgspec.json.decode(trial.arguments or "{}")
    except msgspec.DecodeError as error:
        raise Malformed(f"the arguments are no JSON: {error}") from None
    groups = tuple(name.strip() for name in trial.groups.split(",") if name.strip()) or None
    caller = Caller(user=trial.user.strip(), groups=groups or ())
    call = ToolCall(trial.server, trial.tool, {"name": trial.tool, "arguments": arguments}, caller)
    known = trial.server in policy.servers and trial.tool in policy.servers[trial.server].tools
    sums = dict.fromkeys(ruleset(policy).counters, 0.0) | dict(counters or {})
    return explain(policy, call, Facts(now.astimezone(UTC), known, None, sums), groups)
