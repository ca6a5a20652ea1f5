"""What `check` finds, and how it is written down: for people, as JSON, as SARIF 2.1.0, as GitHub annotations."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import msgspec

from broker.policy.model import Problem


class Level(StrEnum):
    """An error makes `check` fail, a warning only with `--strict`."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True):
    """One finding. `code` is stable, so that a pipeline can tell them apart."""

    code: str
    level: Level
    problem: Problem


def at(code: str, level: Level, where: str, message: str, mend: str = "", *, column: int = 1) -> Finding:
    """A finding at `file:line`."""
    file, _, line = where.rpartition(":")
    return Finding(code, level, Problem(file, int(line or 1), column, message, mend))


def invalid(problems: Iterable[Problem]) -> list[Finding]:
    """The findings for files that can't be loaded."""
    return [Finding("invalid", Level.ERROR, problem) for problem in problems]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """By file, line and column; each once."""
    unique = {(item.code, item.problem): item for item in findings}
    return sorted(
        unique.values(),
        key=lambda item: (item.problem.file, item.problem.line, item.problem.column, item.code, item.problem.message),
    )


def for_people(findings: Iterable[Finding]) -> Iterator[str]:
    for item in findings:
        problem = item.problem
        yield f"{problem.file}:{problem.line}:{problem.column}: {item.level.value}: {problem.message} [{item.code}]"
        if problem.mend:
            yield f"    {problem.mend}"


def as_json(findings: Iterable[Finding]) -> str:
    return msgspec.json.format(msgspec.json.encode(list(findings)), indent=2).decode()


def for_github(findings: Iterable[Finding], folder: str) -> Iterator[str]:
    """Workflow commands (docs.github.com: "Workflow commands for GitHub Actions")."""
    for item in findings:
        problem = item.problem
        level = "notice" if item.level is Level.NOTE else item.level.value
        text = problem.message + (f"; {problem.mend}" if problem.mend else "")
        place = f"file={_escaped(_path(folder, problem.file), ',:')},line={problem.line},col={problem.column}"
        yield f"::{level} {place},title={_escaped(item.code, ',:')}::{_escaped(text)}"


def _path(folder: str, file: str) -> str:
    """As both services look it up: from the top of the checkout, without `./`."""
    return posixpath.normpath(f"{folder}/{file}")


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" + more else char for char in text)


def as_sarif(findings: Iterable[Finding], folder: str) -> str:
    """SARIF 2.1.0 (OASIS), as code scanning reads it."""
    listed = list(findings)
    rules = [{"id": code} for code in sorted({item.code for item in listed})]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "broker policy check", "rules": rules}},
                "results": [_result(item, folder) for item in listed],
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=2).decode()


def _result(item: Finding, folder: str) -> dict[str, Any]:
    problem = item.problem
    region = {"startLine": problem.line, "startColumn": problem.column}
    return {
        "ruleId": item.code,
        "level": item.level.value,
        "message": {"text": problem.message + (f"; {problem.mend}" if problem.mend else "")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(_path(folder, problem.file))}, "region": region}}],
    }
