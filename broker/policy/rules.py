"""Rules as data: what the files say, after every check, ready to be asked."""

from __future__ import annotations

import fnmatch
import re
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from broker.domain.decisions import Effect, Escalation, Requirement, Severity
from broker.policy.cel_text import chains


class RuleEffect(StrEnum):
    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"
    LIMIT = "limit"


class Mode(StrEnum):
    ENFORCE = "enforce"
    SHADOW = "shadow"
    DISABLED = "disabled"


class Names(msgspec.Struct, frozen=True):
    """Names as written: exact ones in a set, globs (`*` and `?`) as one pattern. Empty means: every name."""

    exact: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None
    written: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        return name in self.exact or (self.pattern is not None and self.pattern.fullmatch(name) is not None)

    def __bool__(self) -> bool:
        return bool(self.written)


def names(written: tuple[str, ...]) -> Names:
    """Return the names of a list of exact names and globs."""
    globs = [name for name in written if "*" in name or "?" in name]
    pattern = re.compile("|".join(fnmatch.translate(glob) for glob in globs)) if globs else None
    return Names(frozenset(written) - frozenset(globs), pattern, written)


class Match(msgspec.Struct, frozen=True, dict=True):
    """Which calls a rule is about. Keys are ANDed, the names of one key ORed; an empty key holds for all."""

    server: Names = Names()
    tool: Names = Names()
    not_tool: Names = Names()
    users: Names = Names()
    clients: Names = Names()
    workloads: Names = Names()
    surfaces: Names = Names()
    not_surfaces: Names = Names()
    conversations: Names = Names()
    not_conversations: Names = Names()
    groups_any: frozenset[str] = frozenset()
    groups_all: frozenset[str] = frozenset()
    groups_none: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()
    hints: tuple[tuple[str, bool], ...] = ()

    @cached_property
    def placed(self) -> bool:
        """Does it ask through which surface, or from which conversation, the call comes?"""
        return bool(self.surfaces or self.not_surfaces or self.conversations or self.not_conversations)

    @cached_property
    def anybody(self) -> bool:
        """Does it hold for every call of its servers and tools?"""
        grouped = self.groups_any or self.groups_all or self.groups_none
        return not (self.hints or self.env or grouped or self.users or self.clients or self.workloads or self.placed)

    def covers(self, server: str, tool: str) -> bool:
        """Does it hold for this server and tool, whoever calls?"""
        if self.server and not self.server.has(server):
            return False
        return (not self.tool or self.tool.has(tool)) and not self.not_tool.has(tool)


class Condition(msgspec.Struct, frozen=True, eq=False):
    """A CEL condition: `text` as written, `source` with its snippets written out, `program` compiled, and where it stands.

    It says no where an argument of `demands` is missing: then nobody has to ask the engine.
    """

    text: str
    source: str
    program: Any
    file: str
    line: int
    column: int
    demands: frozenset[str] = frozenset()

    @property
    def counters(self) -> frozenset[str]:
        """The names of the counters that it reads."""
        if "counters." not in self.source:
            return frozenset()
        return frozenset(chain.names[1] for chain in chains(self.source) if chain.names[0] == "counters" and len(chain.names) > 1)


class Exemption(msgspec.Struct, frozen=True, eq=False):
    """An entry of `exceptions`: takes rules away from the calls that meet it, to the end of its last day."""

    id: str
    rules: tuple[str, ...]
    when: Condition
    expires: date
    owner: str
    ticket: str
    where: str
    column: int = 1


class Approval(msgspec.Struct, frozen=True):
    """Who is asked, and how. `step_up` None: nothing was written, so the severity decides."""

    all_of: tuple[Requirement, ...]
    timeout: timedelta = timedelta(minutes=15)
    escalate: tuple[Escalation, ...] = ()
    channels: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    step_up: bool | None = None
    type_to_confirm: str = ""
    caller: bool = False


class Limit(msgspec.Struct, frozen=True):
    counter: str
    max: float
    then: Effect


class Rule(msgspec.Struct, frozen=True, eq=False, kw_only=True, dict=True):
    """One rule. `approval` is set wherever it may ask; `where` is `file:line` of its id, `column` its column."""

    id: str
    effect: RuleEffect
    where: str
    column: int = 1
    match: Match = Match()
    when: Condition | None = None
    unless: Condition | None = None
    title: str = ""
    description: str = ""
    severity: Severity = Severity.MEDIUM
    mode: Mode = Mode.ENFORCE
    guardrail: bool = False
    approval: Approval | None = None
    limit: Limit | None = None
    redact: tuple[str, ...] = ()
    exemptions: tuple[Exemption, ...] = ()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition that decides about it: its own and those of its exceptions."""
        own = tuple(condition for condition in (self.when, self.unless) if condition is not None)
        return own + tuple(entry.when for entry in self.exemptions)

    @property
    def counters(self) -> frozenset[str]:
        """The counters that it looks at."""
        read = {name for condition in self.conditions for name in condition.counters}
        return frozenset(read | ({self.limit.counter} if self.limit is not None else set()))

    @cached_property
    def outcome(self) -> Effect:
        """The effect it has when it matches: a limit denies or asks."""
        return self.limit.then if self.limit is not None else Effect(self.effect.value)

    @cached_property
    def simple(self) -> bool:
        """Is `when` all that it asks once it matches?"""
        return self.unless is None and self.limit is None and not self.exemptions


class Counter(msgspec.Struct, frozen=True):
    """A window over calls. `sum` is the path of an amount, empty to count calls; `key` names what a bucket belongs to."""

    name: str
    window: timedelta
    key: tuple[str, ...]
    match: Match
    sum: tuple[str, ...] = ()
    of: str = "all"


class Defaults(msgspec.Struct, frozen=True):
    unmatched: Effect = Effect.DENY
    unknown_tool: Effect = Effect.DENY
    approval: Approval | None = None
    timezone: str = "UTC"
