"""A change of the policy rehearsed: does it load, do its tests hold, what would it have done to past calls. Pure.

The answer is as good as the calls are: what the caller of this module leaves out is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from broker.domain.servers import Server
from broker.errors import PolicyInvalid
from broker.policy.case_text import case_line, with_case
from broker.policy.cases import cases_in
from broker.policy.evaluate import decide
from broker.policy.load import compose
from broker.policy.model import Facts, Policy, Problem
from broker.policy.replay import Recorded, Replay, read, replay
from broker.policy.ruleset import ruleset
from broker.policy.source import patch, rule_text, spliced
from broker.policy.suite import Failure, run

EXAMPLES = 5


class Tried(msgspec.Struct, frozen=True):
    """A call that somebody names for the test that goes with a change. `groups` stand in for those of people.yaml."""

    call: Recorded
    groups: tuple[str, ...] | None = None


class Order(msgspec.Struct, frozen=True):
    """What to rehearse: `text` in the place of `rule`, over recorded `lines` (JSON Lines).

    `servers` are those in force, `tests` the folder's test files; `tried` is None where no call is named.
    """

    contents: dict[str, bytes]
    tests: dict[str, bytes]
    rule: str
    text: str
    servers: dict[str, Server]
    environment: str = ""
    lines: Sequence[bytes] = ()
    tried: Tried | None = None


class Rehearsal(msgspec.Struct, frozen=True):
    """What came of it. With `problems` there is nothing else. `failures` are tests that fail with the change and held before.

    `patch` is the change with its test, whose name is `case`; empty where no call shows the change.
    """

    problems: tuple[Problem, ...] = ()
    replay: Replay | None = None
    failures: tuple[Failure, ...] = ()
    cases: int = 0
    patch: str = ""
    case: str = ""


def rehearse(order: Order) -> Rehearsal:
    """Rehearse one change of one rule."""
    at = rule_text(order.contents, order.rule)
    if at is None:
        return Rehearsal(problems=(Problem("", 1, 1, f"the rule `{order.rule}` has no lines of its own", "edit its file"),))
    edited = {**order.contents, at.file: spliced(order.contents[at.file], at, order.text)}
    try:
        before, after = (_composed(contents, order) for contents in (order.contents, edited))
        tests = cases_in(order.tests, after)
        broken = {failure.name for failure in run(before, cases_in(order.tests, before)).failures}
    except PolicyInvalid as error:
        return Rehearsal(problems=error.problems)
    report = replay(read(order.lines), after, before, examples=EXAMPLES)
    result = run(after, tests)
    changed, name = _with_test(order, report, before, after, at.file)
    return Rehearsal(
        replay=report,
        failures=tuple(failure for failure in result.failures if failure.name not in broken),
        cases=result.cases,
        patch=patch({**order.contents, **order.tests}, {**edited, **changed}),
        case=name,
    )


def _composed(contents: Mapping[str, bytes], order: Order) -> Policy:
    policy = compose(dict(contents), environment=order.environment)
    return msgspec.structs.replace(policy, servers={**order.servers, **policy.servers})


def _with_test(order: Order, report: Replay, before: Policy, after: Policy, file: str) -> tuple[dict[str, bytes], str]:
    """The test files with a case for the change, and its name: of the call that was named, else of one that changes."""
    for tried in _candidates(order, report):
        item = tried.call
        old, new = (decide(policy, item.call, _facts(policy, item), tried.groups) for policy in (before, after))
        if order.tried is None and (old.effect, old.rules) == (new.effect, new.rules):
            continue
        name = f"{item.call.tool} by {', '.join(new.rules)}: {new.effect.value.replace('_', ' ')}"[:200]
        changed = with_case(order.tests, file, case_line(name, item.call, item.at, new, tried.groups))
        if _holds(changed, name, after):
            return changed, name
    return dict(order.tests), ""


def _holds(tests: Mapping[str, bytes], name: str, policy: Policy) -> bool:
    """Does the new case read as it was meant, and hold?"""
    try:
        cases = cases_in(tests, policy)
    except PolicyInvalid:
        return False
    return not run(policy, [case for case in cases if case.name == name]).failures


def _candidates(order: Order, report: Replay) -> Iterator[Tried]:
    if order.tried is not None:
        yield order.tried
        return
    for change in report.changes.values():
        for example in change.examples:
            yield Tried(msgspec.json.decode(order.lines[example.line - 1], type=Recorded))


def _facts(policy: Policy, item: Recorded) -> Facts:
    """As a test sees it: a tool is known if servers.yaml lists it, and counters are 0."""
    call, server = item.call, policy.servers.get(item.call.server)
    listed = server is not None and call.tool in server.tools
    return Facts(item.at.replace(microsecond=0), listed, None, dict.fromkeys(ruleset(policy).counters, 0.0))
