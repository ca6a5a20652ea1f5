"""Test files beside the rules (`*.test.yaml`): their grammar, and cases as data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Effect, Requirement
from broker.domain.servers import ToolDefinition
from broker.errors import PolicyInvalid
from broker.policy import nodes
from broker.policy.model import Facts, Policy, Problem
from broker.policy.ruleset import ruleset
from broker.policy.scalars import Choice, Flag, Moment, Number, Text
from broker.policy.shapes import Anything, Either, Field, Many, Read, Record, Table
from broker.policy.sheet import BAD, Sheet

# Cases without `now` are at this moment: a test never depends on the day it runs.
_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

_WORD = Text("a text without line breaks", r"[^\r\n]{0,300}")
_NAMES = Many(_WORD, may_be_empty=True)
_CALLER = Record(
    "`caller`",
    {
        "user": Field(_WORD, "the caller's user"),
        "workload": Field(_WORD, "its service identity"),
        "groups": Field(_NAMES, "its groups; those of people.yaml if absent"),
        "agent": Field(_WORD, "the agent's name"),
        "owner": Field(_WORD, "the person to whom the agent belongs"),
        "surface": Field(_WORD, "the chat, IDE or bot that the call comes through"),
        "conversation": Field(_WORD, "where in it"),
    },
)
_CLIENT = Record("`client`", {"name": Field(_WORD, "by its own words"), "version": Field(_WORD, "by its own words")})
_CLAIMS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_ANNOTATIONS = Record("`annotations`", {name: Field(Flag(), "the server's claim") for name in _CLAIMS})
_NEED = Record("a requirement", {"group": Field(_WORD, "the group", needed=True), "count": Field(Number(1), "1 if absent")})
GIVEN = Record(
    "`given`",
    {
        "caller": Field(_CALLER, "who calls"),
        "client": Field(Either(_CLIENT, _WORD), "the agent's software"),
        "env": Field(_WORD, "the broker's environment"),
        "now": Field(Moment(), "when; 2026-01-01T12:00:00Z if absent"),
        "counters": Field(Table(Number(0)), "sums of earlier calls; 0 where absent"),
        "annotations": Field(_ANNOTATIONS, "what the server says of the tool"),
        "digest": Field(_WORD, "the definition is not the accepted one: the tool counts as unknown"),
    },
)  # fmt: skip
_CASE = Record(
    "a case",
    {
        "name": Field(_WORD, "a sentence", needed=True),
        "call": Field(Many(Anything()), "[server, tool, arguments]", needed=True),
        "given": Field(GIVEN, "replaces the file's `given` key by key"),
        "expect": Field(Choice(("allow", "require_approval", "deny")), "the effect", needed=True),
        "rules": Field(_NAMES, "the reported rules, as a set"),
        "shadow": Field(_NAMES, "the shadow rules that would match, as a set"),
        "errors": Field(Flag(), "does a condition fail?"),
        "requirements": Field(Many(_NEED), "what all asking rules demand together"),
        "title": Field(_WORD, "the title that people read"),
    },
)  # fmt: skip
TESTS = Record(
    "a test file",
    {"given": Field(GIVEN, "holds for every case"), "cases": Field(Many(_CASE), "the cases", needed=True)},
)

BUILT_IN = frozenset(("unmatched", "unknown_tool", "unknown_server", "service_alone", "arguments", "unsatisfiable"))
"""What a decision names where no rule of the files decided."""


class Case(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One test. What is None is not asserted. `where` is its file and line, `groups` None: those of the directory."""

    name: str
    where: str
    call: ToolCall
    groups: tuple[str, ...] | None
    now: datetime
    expect: Effect
    env: str | None = None
    counters: Mapping[str, float] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, bool] | None = None
    changed: bool = False
    rules: frozenset[str] | None = None
    shadow: frozenset[str] | None = None
    errors: bool | None = None
    requirements: tuple[Requirement, ...] | None = None
    title: str | None = None

    def facts(self, policy: Policy) -> Facts:
        """What `evaluate` needs beside the call: the tool is known if servers.yaml lists it and it did not change."""
        server = policy.servers.get(self.call.server)
        known = server is not None and self.call.tool in server.tools and not self.changed
        claims = {"name": self.call.tool, "annotations": dict(self.annotations)} if self.annotations is not None else None
        definition = ToolDefinition(self.call.server, self.call.tool, claims) if claims is not None else None
        zeros = dict.fromkeys(ruleset(policy).counters, 0.0)
        return Facts(now=self.now, known=known, definition=definition, counters={**zeros, **self.counters})


def load_cases(folder: Path, policy: Policy) -> tuple[Case, ...]:
    """Read every `*.test.yaml` of the folder. Raises `PolicyInvalid` with every problem of every file."""
    return cases_in(tests_of(folder), policy)


def tests_of(folder: Path) -> dict[str, bytes]:
    """Return the test files of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.test.yaml"))}


def cases_in(contents: Mapping[str, bytes], policy: Policy) -> tuple[Case, ...]:
    """Return the cases of test files. Raises `PolicyInvalid` with every problem of every file."""
    sheets = [Sheet(nodes.read(name, content)) for name, content in sorted(contents.items())]
    cases = tuple(case for sheet in sheets for case in _cases(sheet, policy))
    problems = tuple(problem for sheet in sheets for problem in sheet.problems)
    if problems:
        raise PolicyInvalid(tuple(sorted(problems, key=_place)))
    return cases


def _place(problem: Problem) -> tuple[str, int, int]:
    return problem.file, problem.line, problem.column


def _cases(sheet: Sheet, policy: Policy) -> list[Case]:
    root = sheet.document.root
    read = TESTS.read(root, sheet) if root is not None else sheet.wrong(nodes.Place(1, 1), "the file is empty", "write `cases:`")
    if not isinstance(read, Read):
        return []
    common = read.get("given")
    made = [_case(item, common, policy, sheet) for item in read.get("cases")]
    return [case for case in made if isinstance(case, Case)]


def _case(read: Read, common: Read | None, policy: Policy, sheet: Sheet) -> Any:
    given = {**(common.values if common is not None else {}), **(read.get("given").values if "given" in read.values else {})}
    call = read.get("call")
    if not 2 <= len(call) <= 3 or not all(isinstance(part, str) for part in call[:2]):
        return sheet.wrong(
            read.at("call"), "a call is server, tool and arguments", "write [payments, refund_create, {amount: 40}]"
        )
    counters = given["counters"].values if "counters" in given else {}
    unknown = [name for name in counters if name not in ruleset(policy).counters]
    if unknown:
        return sheet.wrong(
            given["counters"].node.keys[unknown[0]], f"there is no counter `{unknown[0]}`", "define it, or leave it out"
        )
    return BAD if _unknown_rules(read, policy, sheet) else _made(read, given, call, sheet)


def _unknown_rules(read: Read, policy: Policy, sheet: Sheet) -> bool:
    """A rule that is asserted and does not exist is a mistake of the test, not a failure."""
    known = BUILT_IN | {rule.id for rule in ruleset(policy).rules}
    asserted = {*read.get("rules", ()), *read.get("shadow", ())}
    for name in sorted(asserted - known):
        sheet.wrong(read.at("rules"), f"there is no rule `{name}`", "write a rule's id, or unmatched, unknown_tool, …")
    return not asserted <= known


def _made(read: Read, given: dict[str, Any], call: tuple[Any, ...], sheet: Sheet) -> Case:
    caller = given["caller"].values if "caller" in given else {}
    params = {"name": call[1], **({"arguments": call[2]} if len(call) == 3 else {})}
    needs = read.get("requirements")
    return Case(
        name=read.get("name"),
        where=f"{sheet.document.file}:{read.node.place.line}",
        call=ToolCall(call[0], call[1], params, _caller(caller, given.get("client"))),
        groups=caller.get("groups"),
        now=given.get("now", _NOON),
        expect=Effect(read.get("expect")),
        env=given.get("env"),
        counters={name: float(value) for name, value in given["counters"].values.items()} if "counters" in given else {},
        annotations=given["annotations"].values if "annotations" in given else None,
        changed="digest" in given,
        rules=frozenset(read.get("rules")) if "rules" in read.values else None,
        shadow=frozenset(read.get("shadow")) if "shadow" in read.values else None,
        errors=read.get("errors"),
        requirements=tuple(Requirement(need.get("group"), int(need.get("count", 1))) for need in needs) if needs else None,
        title=read.get("title"),
    )


def _caller(caller: dict[str, Any], client: Read | str | None) -> Caller:
    software = {"name": client} if isinstance(client, str) else client.values if client is not None else {}
    return Caller(
        **{name: caller[name] for name in _CALLER.fields if name != "groups" and name in caller},
        groups=tuple(caller.get("groups", ())),
        client=software.get("name", ""),
        client_version=software.get("version", ""),
    )
