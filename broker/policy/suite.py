"""Runs the tests of a policy, and says what they leave uncovered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from broker.domain.decisions import Decision, RequireApproval, Requirement
from broker.policy.cases import Case
from broker.policy.conditions import Answer
from broker.policy.evaluate import decide, trace
from broker.policy.model import Policy
from broker.policy.rules import Mode, Rule
from broker.policy.ruleset import ruleset


class Failure(msgspec.Struct, frozen=True):
    """One case that came out otherwise: what was asserted, expected and got, in words."""

    name: str
    where: str
    differences: tuple[str, ...]


class Uncovered(msgspec.Struct, frozen=True):
    """What no test reaches: a rule that never won, or a condition that was never true or never false."""

    rule: str
    what: str
    where: str


class Report(msgspec.Struct, frozen=True):
    """`covered` of `coverable` things were reached: each rule that decides, each condition true, each condition false."""

    cases: int
    failures: tuple[Failure, ...]
    uncovered: tuple[Uncovered, ...]
    covered: int
    coverable: int

    @property
    def coverage(self) -> float:
        """From 0 to 100; a policy without rules is covered."""
        return 100.0 * self.covered / self.coverable if self.coverable else 100.0


def run(policy: Policy, cases: Iterable[Case]) -> Report:
    """Run the cases against the policy."""
    seen: set[tuple[str, str]] = set()
    failures, count = [], 0
    for case in cases:
        count += 1
        here = _placed(policy, case)
        decision = decide(here, case.call, case.facts(here), case.groups)
        differences = _differences(case, decision)
        if differences:
            failures.append(Failure(case.name, case.where, differences))
        else:
            seen |= _won(case, decision) | _answered(here, case)
    items = _coverable(ruleset(policy).rules)
    uncovered = tuple(Uncovered(rule, what, where) for (rule, what), where in items.items() if (rule, what) not in seen)
    return Report(count, tuple(failures), uncovered, len(items) - len(uncovered), len(items))


def _placed(policy: Policy, case: Case) -> Policy:
    """The policy in the environment of the case."""
    if case.env is None:
        return policy
    return msgspec.structs.replace(policy, compiled=msgspec.structs.replace(ruleset(policy), environment=case.env))


def _differences(case: Case, decision: Decision) -> tuple[str, ...]:
    checks = (
        ("effect", case.expect.value, decision.effect.value),
        ("rules", _listed(case.rules), _listed(decision.rules)),
        ("shadow", _listed(case.shadow), _listed(decision.shadow)),
        ("errors", case.errors, bool(decision.errors)),
        ("requirements", _needs(case.requirements), _needs(_demanded(decision))),
        ("title", case.title, decision.plan.title if isinstance(decision, RequireApproval) else ""),
    )
    return tuple(f"{what}: expected {wanted}, got {got}" for what, wanted, got in checks if wanted is not None and wanted != got)


def _listed(names: Iterable[str] | None) -> str | None:
    return None if names is None else "[" + ", ".join(sorted(names)) + "]"


def _needs(needs: tuple[Requirement, ...] | None) -> str | None:
    return None if needs is None else _listed(f"{need.count} of {need.group}" for need in needs)


def _demanded(decision: Decision) -> tuple[Requirement, ...]:
    return tuple(need for ask in decision.plan.asks for need in ask.all_of) if isinstance(decision, RequireApproval) else ()


# -- coverage ---------------------------------------------------------------------------------------------


def _coverable(rules: tuple[Rule, ...]) -> dict[tuple[str, str], str]:
    """Everything that tests should reach, with its place."""
    items: dict[tuple[str, str], str] = {}
    for rule in rules:
        if rule.mode is Mode.DISABLED:
            continue
        items[rule.id, "won"] = rule.where
        own = [
            ("when", rule.when),
            ("unless", rule.unless),
            *((f"exception {entry.id}", entry.when) for entry in rule.exemptions),
        ]
        for of, condition in own:
            for answer in (Answer.YES, Answer.NO) if condition is not None else ():
                items[rule.id, f"{of} {_WORDS[answer]}"] = f"{condition.file}:{condition.line}" if condition is not None else ""
    return items


_WORDS = {Answer.YES: "true", Answer.NO: "false"}


def _won(case: Case, decision: Decision) -> set[tuple[str, str]]:
    return {(rule, "won") for rule in {*decision.rules, *(case.shadow or ())}}


def _answered(policy: Policy, case: Case) -> set[tuple[str, str]]:
    """Which conditions said yes or no for this case, whoever won."""
    found = trace(policy, case.call, case.facts(policy), case.groups)
    return {
        (item.rule.id, f"{said.of if said.of in ('when', 'unless') else f'exception {said.of}'} {_WORDS[said.answer]}")
        for item in found
        for said in item.said
        if said.answer is not Answer.ERROR
    }


# -- as lines for a terminal ------------------------------------------------------------------------------


def lines(report: Report) -> Iterator[str]:
    """The report as lines of text."""
    for failure in report.failures:
        yield f"{failure.where}: `{failure.name}` failed"
        yield from (f"    {difference}" for difference in failure.differences)
    for item in report.uncovered:
        yield f"{item.where}: `{item.rule}` is not covered: {_MISSING.get(item.what, f'`{item.what}` has no case')}"
    passed = report.cases - len(report.failures)
    yield f"{passed} of {report.cases} cases passed, coverage {report.coverage:.0f} % ({report.covered} of {report.coverable})"


_MISSING = {"won": "it never decides a case, nor is it asserted in `shadow`"}
