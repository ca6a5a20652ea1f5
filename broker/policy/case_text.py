"""A test case as it would be written: from a call to one line of a test file, and the files with it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Decision
from broker.policy import nodes
from broker.policy.source import cases_of, excerpt

_CALLER = ("user", "workload", "agent", "owner", "surface", "conversation")
_TESTS = ".test.yaml"


def case_line(name: str, call: ToolCall, at: datetime, decision: Decision, groups: tuple[str, ...] | None = None) -> str:
    """Return the case that this call is decided like this. `groups` stand in for those of people.yaml."""
    given: dict[str, Any] = {"caller": _caller(call.caller, groups), "now": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    if call.caller.client:
        given["client"] = call.caller.client
    arguments = [call.arguments] if "arguments" in call.params else []
    told = {
        "name": name,
        "given": given,
        "call": [call.server, call.tool, *arguments],
        "expect": decision.effect.value,
        "rules": list(decision.rules),
    }
    return "- {" + ", ".join(f"{key}: {_flow(value)}" for key, value in told.items()) + "}"


def _caller(caller: Caller, groups: tuple[str, ...] | None) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(caller, name) for name in _CALLER if getattr(caller, name)}
    named = groups if groups is not None else caller.groups or None
    return told | ({"groups": list(named)} if named is not None else {})


def _flow(value: Any) -> str:
    """JSON that YAML reads as the same value: whatever YAML takes for a line break, or refuses, is written as its code."""
    return "".join(char if char.isprintable() else _escaped(char) for char in json.dumps(value, ensure_ascii=False))


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def with_case(tests: Mapping[str, bytes], rules_file: str, line: str) -> dict[str, bytes]:
    """Return the test files with one more case: in the file beside the rules, else in the first, else in a new one.

    A file whose cases are not a list of lines is left alone, and a new one made.
    """
    beside = f"{rules_file.removesuffix('.yaml')}{_TESTS}"
    for file in (beside, *sorted(tests)):
        added = _added(file, tests[file], line) if file in tests else None
        if added is not None:
            return {**tests, file: added}
    name = beside if beside not in tests else f"{rules_file.removesuffix('.yaml')}-more{_TESTS}"
    return {**tests, name: f"cases:\n  {line}\n".encode()}


def _added(file: str, content: bytes, line: str) -> bytes | None:
    document = nodes.read(file, content)
    cases = cases_of(document)
    last = excerpt(document, cases, len(cases) - 1) if cases and not document.problems else None
    if last is None:
        return None
    indent = len(last.text) - len(last.text.lstrip(" "))
    lines = content.decode().split("\n")
    return "\n".join([*lines[: last.last], " " * indent + line, *lines[last.last :]]).encode()
