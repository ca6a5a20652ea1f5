"""Runs the official MCP conformance suite against addresses and reads what it found."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.node.install import install

PACKAGE = "@modelcontextprotocol/conformance"
SCENARIO_WITHIN = "90000"
"""Milliseconds that one scenario may take: far more than any needs, since machines are busy."""
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


class Run(NamedTuple):
    """One suite against one address; with `token`, each request carries it as a bearer token.

    It runs what `revision` requires and whatever else applies to it, or these `scenarios` alone.
    """

    url: str
    revision: str
    token: str = ""
    scenarios: frozenset[str] = frozenset()

    def arguments(self) -> list[list[str]]:
        """What to call the suite with, once for each process that it takes."""
        if not self.scenarios:
            return [["--requirements", self.revision]]
        return [["--spec-version", self.revision, "--force", "--scenario", one] for one in sorted(self.scenarios)]


def run(one: Run, results: Path, *, timeout: float = 110) -> Score:
    """Run one suite. Its whole output is in `results`."""
    return run_all({"": one}, results, timeout=timeout)[""]


def run_all(runs: Mapping[str, Run], results: Path, *, timeout: float = 110) -> dict[str, Score]:
    """Run suites at once, since they spend most of their time waiting. The output of each is in a folder of its name."""
    with ExitStack() as stack:
        suites = []
        for name, one in runs.items():
            (results / name).mkdir(exist_ok=True)
            suites += [stack.enter_context(_running(one, more, results / name)) for more in one.arguments()]
        for suite in suites:
            suite.wait(timeout)
    return {name: _read(results / name) for name in runs}


@contextmanager
def _running(one: Run, more: Sequence[str], results: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = install().script(PACKAGE, "dist/index.js")
    command = [*program, "server", "--url", one.url, *more, "--output-dir", str(results), "--timeout", SCENARIO_WITHIN]
    options = f"--import={BEARER.as_uri()}" if one.token else ""
    environment = {**os.environ, "CONFORMANCE_TOKEN": one.token, "NODE_OPTIONS": options}
    with (results / "log.txt").open("a") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as suite:
        try:
            yield suite
        finally:
            suite.kill()


def _read(results: Path) -> Score:
    failed: dict[str, list[str]] = {}
    passed = set()
    for found in sorted(results.glob("server-*/checks.json")):
        # The folder is named server-SCENARIO-2026-11-23T15-46-01-918Z: what was run twice counts as it was the second time.
        scenario = found.parent.name.removeprefix("server-").rsplit("-", 6)[0]
        checks = json.loads(found.read_text())
        failed.pop(scenario, None)
        passed.discard(scenario)
        if complaints := [f"{check['id']}: {check.get('errorMessage', '')}" for check in checks if check["status"] == "FAILURE"]:
            failed[scenario] = complaints
        elif any(check["status"] == "SUCCESS" for check in checks):
            passed.add(scenario)
    return Score(frozenset(passed), failed)
