"""Runs the official MCP conformance suite against one address and reads what it found."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.node.install import install

PACKAGE = "@modelcontextprotocol/conformance"
BEARER = Path(__file__).with_name("bearer.mjs")


class Score(NamedTuple):
    """`passed`: exercised, without a failed check. `failed` holds the complaints about each other scenario."""

    passed: frozenset[str]
    failed: dict[str, list[str]]

    def of(self, wanted: frozenset[str]) -> Score:
        return Score(self.passed & wanted, {name: why for name, why in self.failed.items() if name in wanted})


def required(revision: str) -> frozenset[str]:
    """The server scenarios that a revision requires, as frozen by the suite when it was released."""
    pinned = install().modules / PACKAGE / "requirements" / f"{revision}.yaml"
    return frozenset(yaml.safe_load(pinned.read_text())["server"])


def run(url: str, revision: str, results: Path, *, token: str = "", timeout: float = 110) -> Score:
    """Run every scenario that applies to `revision`; with `token`, each request carries it as a bearer token.

    The suite's whole output is in `results`.
    """
    with _running(url, ("--requirements", revision), results, token) as suite:
        suite.wait(timeout)
    return _read(results)


def run_each(url: str, revision: str, scenarios: Collection[str], results: Path, *, token: str) -> Score:
    """Run some scenarios, all at once: they spend their time waiting."""
    with ExitStack() as stack:
        suites = [
            stack.enter_context(_running(url, ("--spec-version", revision, "--force", "--scenario", one), results, token))
            for one in scenarios
        ]
        for suite in suites:
            suite.wait(110)
    return _read(results)


@contextmanager
def _running(url: str, what: Sequence[str], results: Path, token: str) -> Iterator[subprocess.Popen[bytes]]:
    program = install().script(PACKAGE, "dist/index.js")
    command = [*program, "server", "--url", url, *what, "--output-dir", str(results)]
    environment = {**os.environ, "CONFORMANCE_TOKEN": token, "NODE_OPTIONS": f"--import={BEARER.as_uri()}" if token else ""}
    with (results / "log.txt").open("a") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as suite:
        try:
            yield suite
        finally:
            suite.kill()


def _read(results: Path) -> Score:
    failed: dict[str, list[str]] = {}
    passed = set()
    for found in results.glob("server-*/checks.json"):
        # The folder is named server-SCENARIO-2026-11-23T15-46-01-918Z.
        scenario = found.parent.name.removeprefix("server-").rsplit("-", 6)[0]
        checks = json.loads(found.read_text())
        if complaints := [f"{check['id']}: {check.get('errorMessage', '')}" for check in checks if check["status"] == "FAILURE"]:
            failed[scenario] = complaints
        elif any(check["status"] == "SUCCESS" for check in checks):
            passed.add(scenario)
    return Score(frozenset(passed), failed)
