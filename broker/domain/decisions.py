"""What the policy says about one call: an effect that carries its reasons, never a bare yes or no."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

import msgspec


class Effect(StrEnum):
    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why: a rule's id (or `unmatched`, `unknown_tool`, `unknown_server`, `arguments`, `unsatisfiable`), in words, and where."""

    rule: str
    text: str = ""
    where: str = ""


class Requirement(msgspec.Struct, frozen=True):
    """`count` different members of `group`."""

    group: str
    count: int = 1


class RuleApproval(msgspec.Struct, frozen=True):
    """What one asking rule demands. Each of `all_of` must be met; one person fills one slot inside a rule."""

    rule: str
    all_of: tuple[Requirement, ...]


class Escalation(msgspec.Struct, frozen=True):
    """After this long without an answer, members of `to` may fill any slot. The count never sinks."""

    after: timedelta
    to: tuple[str, ...]


class ApprovalPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that people need for one request, joined over all asking rules.

    `show` and `redact` are paths into the arguments (`args.customer`, `$.args.card.*`); `caller_confirms`
    lets the caller's own user decide; `type_to_confirm` is a path whose value must be typed.
    """

    title: str
    asks: tuple[RuleApproval, ...]
    timeout: timedelta
    severity: Severity = Severity.MEDIUM
    channels: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    escalate: tuple[Escalation, ...] = ()
    step_up: bool = False
    caller_confirms: bool = False
    type_to_confirm: str = ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that are asked, each once, in the order of the rules."""
        return tuple(dict.fromkeys(need.group for ask in self.asks for need in ask.all_of))

    @property
    def alone(self) -> bool:
        """Critical calls, passkeys and typed confirmations are decided one by one, on their pages."""
        return self.severity is Severity.CRITICAL or self.step_up or bool(self.type_to_confirm)


class DecisionBase(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`rules` are the reported rules (a sorted set); `errors` rules whose condition failed; `shadow` those that would match."""

    policy: str
    rules: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()
    errors: tuple[Reason, ...] = ()
    shadow: tuple[str, ...] = ()


class Allow(DecisionBase, frozen=True, tag="allow"):
    effect: ClassVar[Effect] = Effect.ALLOW


class RequireApproval(DecisionBase, frozen=True, tag="require_approval"):
    """`counters` are the sums that it was decided by, so that it can be explained later."""

    effect: ClassVar[Effect] = Effect.REQUIRE_APPROVAL
    plan: ApprovalPlan
    counters: dict[str, float] = {}


class Deny(DecisionBase, frozen=True, tag="deny"):
    effect: ClassVar[Effect] = Effect.DENY


Decision = Allow | RequireApproval | Deny
