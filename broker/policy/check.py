"""Everything that can be said about a policy folder without a call: mistakes, and what its writer hardly meant."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from broker.errors import PolicyInvalid
from broker.policy import nodes
from broker.policy.argument_lints import Definitions, argument_lints, unpinned, with_tools
from broker.policy.cases import load_cases
from broker.policy.findings import Finding, Level, at, invalid, ordered
from broker.policy.lints import lints
from broker.policy.load import as_read, files, load
from broker.policy.model import Policy
from broker.policy.named_groups import unknown_groups
from broker.policy.ruleset import ruleset
from broker.policy.sheet import Sheet
from broker.policy.suite import run


def check(folder: Path, today: date, *, environment: str = "", definitions: Definitions | None = None) -> list[Finding]:
    """Return all findings, in the order of files and lines. `definitions` are what servers list, where they are at hand."""
    asked = _unknown_groups(folder)
    try:
        policy = load(folder, environment=environment)
    except PolicyInvalid as error:
        return ordered([*invalid(error.problems), *asked])
    offered = definitions or {}
    by_tools = [*unpinned(policy, offered), *argument_lints(policy, offered)]
    return ordered([*asked, *lints(with_tools(policy, offered), today), *by_tools, *_untested(folder, policy)])


def _unknown_groups(folder: Path) -> list[Finding]:
    try:
        contents = files(folder)
    except PolicyInvalid:
        return []
    return list(unknown_groups(as_read([Sheet(nodes.read(name, content)) for name, content in contents.items()])))


def _untested(folder: Path, policy: Policy) -> list[Finding]:
    """Exceptions that no test shows to leave a call alone: those are the ones that let too much through."""
    try:
        report = run(policy, load_cases(folder, policy))
    except PolicyInvalid as error:
        return invalid(error.problems)
    uncovered = {item.what for item in report.uncovered}
    return [
        at(
            "exception-untested", Level.WARNING, entry.where, f"no test has a call that `{entry.id}` leaves alone",
            "add a case that it must not let through", column=entry.column,
        )
        for entry in ruleset(policy).exemptions
        if f"exception {entry.id} false" in uncovered
    ]  # fmt: skip
