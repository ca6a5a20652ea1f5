"""Recorded calls against a candidate policy: what would change, and what it would cost people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from statistics import median
from typing import Any

import msgspec

from broker.domain.calls import ToolCall
from broker.domain.decisions import ApprovalPlan, Decision, Effect, RequireApproval
from broker.domain.requests import ApprovalRequest
from broker.domain.servers import ToolDefinition
from broker.errors import UNREADABLE
from broker.policy.evaluate import counters_for, evaluate
from broker.policy.model import Facts, Policy
from broker.policy.parts import worded
from broker.policy.replay_windows import Windows
from broker.policy.ruleset import ruleset

_RANK = {Effect.ALLOW.value: 0, Effect.REQUIRE_APPROVAL.value: 1, Effect.DENY.value: 2}
_ASKED = Effect.REQUIRE_APPROVAL.value
_DAY = 86_400.0


class Was(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a recorded call: its effect and rules, who was asked (group -> count), the ending, and after how long.

    `ending` is the request's state (`approved`, `completed`, `rejected`, `expired` …), `seconds` from asked to decided.
    """

    effect: str
    rules: tuple[str, ...] = ()
    asked: dict[str, int] = msgspec.field(default_factory=dict)
    step_up: bool = False
    ending: str = ""
    seconds: float | None = None


class Recorded(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a recording (JSON Lines). `definition` is the tool's member of `tools/list`; `counters` what they held then."""

    at: datetime
    call: ToolCall
    known: bool = True
    definition: dict[str, Any] | None = None
    counters: dict[str, float] = msgspec.field(default_factory=dict)
    was: Was | None = None


class Example(msgspec.Struct, frozen=True):
    """One call that changes. `line` counts from 1 in the recording."""

    line: int
    at: datetime
    server: str
    tool: str
    caller: str
    arguments: str
    before: str
    after: str
    rules: tuple[str, ...]


class Load(msgspec.Struct, frozen=True):
    """What one group is asked. `typical_wait` is the median of past decisions that it took part in, seconds; None: none known."""

    asks_a_day_before: float
    asks_a_day_after: float
    typical_wait: float | None

    @property
    def added_wait_a_day(self) -> float | None:
        """Seconds that agents wait more each day."""
        return None if self.typical_wait is None else (self.asks_a_day_after - self.asks_a_day_before) * self.typical_wait


class Change(msgspec.Struct, frozen=True):
    """All calls that change in one way: how many, after which rules, and some of them."""

    count: int
    by_rule: dict[str, int]
    examples: tuple[Example, ...]


class Replay(msgspec.Struct, frozen=True):
    """The report. `matrix` is before -> after -> calls; `changes` by kind, dangers first; `looser` counts what opens up."""

    calls: int
    unreadable: int
    days: float
    matrix: dict[str, dict[str, int]]
    looser: int
    changes: dict[str, Change]
    people: dict[str, Load]


# In the order in which a reader wants to see them.
KINDS = (
    "rejected_now_passing", "newly_allowed", "no_longer_denied", "fewer_approvers", "other_approvers", "newly_asked",
    "newly_denied",
)  # fmt: skip
_LOOSER = frozenset(KINDS[:4])


def read(lines: Iterable[bytes]) -> Iterator[Recorded | None]:
    """Return the recorded calls of JSON Lines; None for a line that can't be read. Empty lines are left out."""
    decode = msgspec.json.Decoder(Recorded).decode
    for line in lines:
        if line.strip():
            try:
                yield decode(line)
            except UNREADABLE:
                yield None


def recorded(request: ApprovalRequest, call: ToolCall) -> Recorded:
    """Return a past request as a recording has it, with the call as `call` tells it (its secrets covered, say)."""
    decided = request.reviews[-1].at if request.reviews else None
    seconds = (decided - request.opened_at).total_seconds() if decided is not None else None
    was = Was(_ASKED, request.rules, asked_by(request.plan), request.plan.step_up, request.state.value, seconds)
    return Recorded(request.opened_at, call, "unknown_tool" not in request.rules, counters=request.counters, was=was)


def replay(recorded: Iterable[Recorded | None], after: Policy, before: Policy | None = None, *, examples: int = 5) -> Replay:
    """Return what `after` would do to the calls, which come in the order of their times.

    Before is the policy `before`, or what was recorded; a call with neither counts as unreadable. Counters that were not
    recorded are counted along the way.
    """
    book, old, new = _Book(examples), Windows(), Windows()
    for line, item in enumerate(recorded, 1):
        then = _was(item, before, old) if item is not None else None
        if item is None or then is None:
            book.unreadable += 1
        else:
            book.enter(line, item, then, _told(_judged(after, item, new)))
    return book.report()


def _was(item: Recorded, before: Policy | None, windows: Windows) -> Was | None:
    if before is None:
        return item.was
    told = _told(_judged(before, item, windows))
    past = item.was
    return told if past is None else msgspec.structs.replace(told, ending=past.ending, seconds=past.seconds)


def _judged(policy: Policy, item: Recorded, windows: Windows) -> Decision:
    call = item.call
    definition = ToolDefinition(call.server, call.tool, item.definition) if item.definition is not None else None
    uses = counters_for(policy, call) if ruleset(policy).counters else ()
    counters = {**windows.sums(uses, item.at), **item.counters}
    decision = evaluate(policy, call, Facts(item.at, item.known, definition, counters))
    windows.enter(uses, item.at, decision.effect, item.was.ending if item.was is not None else "")
    return decision


def _told(decision: Decision) -> Was:
    if not isinstance(decision, RequireApproval):
        return Was(decision.effect.value, decision.rules)
    return Was(decision.effect.value, decision.rules, asked_by(decision.plan), decision.plan.step_up)


def asked_by(plan: ApprovalPlan) -> dict[str, int]:
    """Return group -> how many of it, at most, one rule of the plan asks."""
    asked: dict[str, int] = {}
    for ask in plan.asks:
        for need in ask.all_of:
            asked[need.group] = max(need.count, asked.get(need.group, 0))
    return asked


class _Book:
    """Counts while the calls go by."""

    def __init__(self, examples: int) -> None:
        self.unreadable = 0
        self._most = examples
        self._calls = 0
        self._matrix: dict[str, dict[str, int]] = {}
        self._counts: Counter[str] = Counter()
        self._by_rule: dict[str, Counter[str]] = {}
        self._examples: dict[str, list[Example]] = {}
        self._asks: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._waits: dict[str, list[float]] = {}
        self._first: datetime | None = None
        self._last: datetime | None = None

    def enter(self, line: int, item: Recorded, before: Was, after: Was) -> None:
        self._calls += 1
        self._first = min(item.at, self._first or item.at)
        self._last = max(item.at, self._last or item.at)
        row = self._matrix.setdefault(before.effect, {})
        row[after.effect] = row.get(after.effect, 0) + 1
        for asks, was in zip(self._asks, (before, after), strict=True):
            asks.update(was.asked.keys() if was.effect == _ASKED else ())
        if before.seconds is not None:
            for group in before.asked:
                self._waits.setdefault(group, []).append(before.seconds)
        kind = _kind(before, after)
        if kind:
            self._note(kind, line, item, before, after)

    def _note(self, kind: str, line: int, item: Recorded, before: Was, after: Was) -> None:
        self._counts[kind] += 1
        self._by_rule.setdefault(kind, Counter()).update(after.rules)
        kept = self._examples.setdefault(kind, [])
        if len(kept) < self._most:
            call = item.call
            caller = call.caller.user or call.caller.workload or call.caller.agent
            kept.append(Example(
                line, item.at, call.server, call.tool, caller, worded(call.arguments), before.effect, after.effect, after.rules,
            ))  # fmt: skip

    def report(self) -> Replay:
        span = (self._last - self._first).total_seconds() if self._first and self._last else 0.0
        days = max(span / _DAY, 1.0)
        changes = {
            kind: Change(self._counts[kind], dict(self._by_rule[kind].most_common(20)), tuple(self._examples[kind]))
            for kind in KINDS
            if kind in self._counts
        }
        before, after = self._asks
        people = {
            group: Load(before[group] / days, after[group] / days, median(self._waits[group]) if group in self._waits else None)
            for group in sorted({*before, *after})
        }
        looser = sum(count for kind, count in self._counts.items() if kind in _LOOSER)
        return Replay(self._calls, self.unreadable, days, self._matrix, looser, changes, people)


def _kind(before: Was, after: Was) -> str:
    """How a call changes, empty when it does not. What a person rejected and would now pass comes first."""
    old, new = _RANK.get(before.effect, 2), _RANK[after.effect]
    if new == 0 and before.ending == "rejected":
        return "rejected_now_passing"
    if new < old:
        return "newly_allowed" if new == 0 else "no_longer_denied"
    if new > old:
        return "newly_denied" if new == 2 else "newly_asked"
    if after.effect == _ASKED and (before.asked, before.step_up) != (after.asked, after.step_up):
        return "fewer_approvers" if _fewer(before, after) else "other_approvers"
    return ""


def _fewer(before: Was, after: Was) -> bool:
    """Is there a demand that no longer holds?"""
    return (before.step_up and not after.step_up) or any(
        after.asked.get(group, 0) < count for group, count in before.asked.items()
    )


# -- as lines for a terminal ------------------------------------------------------------------------------


def lines(report: Replay) -> Iterator[str]:
    """The report as lines of text."""
    yield f"{report.calls} calls over {report.days:.1f} days" + (f", {report.unreadable} unreadable" * bool(report.unreadable))
    for before, row in sorted(report.matrix.items()):
        for after, count in sorted(row.items()):
            yield f"  {before:17} -> {after:17} {count:8}"
    for kind, change in report.changes.items():
        yield f"{kind.replace('_', ' ')}: {change.count}"
        yield from (f"    by {rule}: {count}" for rule, count in change.by_rule.items())
        yield from (f"    line {item.line}: {item.caller} {item.server}/{item.tool} {item.arguments}" for item in change.examples)
    for group, load in report.people.items():
        wait = f", usually waits {load.typical_wait / 60:.0f} min" if load.typical_wait is not None else ""
        yield f"{group}: {load.asks_a_day_before:.1f} -> {load.asks_a_day_after:.1f} asks a day{wait}"
    yield f"looser: {report.looser}"
