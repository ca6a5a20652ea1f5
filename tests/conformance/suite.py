"""Runs the official MCP conformance suite against one address and reads what it found."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.node.install import install

PACKAGE = "@modelcontextprotocol/conformance"
BEARER = Path(__file__).with_name("bearer.mjs")


class Score(NamedTuple):
    """`passed` are the scenarios without a failed check; `failed` holds the complaints about each other one."""

    passed: frozenset[str]
    failed: dict[str, list[str]]

    def of(self, wanted: frozenset[str]) -> Score:
        return Score(self.passed & wanted, {name: why for name, why in self.failed.items() if name in wanted})


def required(revision: str) -> frozenset[str]:
    """The server scenarios that a revision requires, as frozen by the suite when it was released."""
    pinned = install().modules / PACKAGE / "requirements" / f"{revision}.yaml"
    return frozenset(yaml.safe_load(pinned.read_text())["server"])


def run(url: str, revision: str, results: Path, *, token: str = "", timeout: float = 110, scenario: str = "") -> Score:
    """Run every scenario that applies to `revision`, or one; with `token`, each request carries it as a bearer token.

    The suite's whole output is in `results`.
    """
    node = install()
    program = node.script(PACKAGE, "dist/index.js")
    wanted = ("--scenario", scenario) if scenario else ("--requirements", revision)
    command = [*program, "server", "--url", url, *wanted, "--output-dir", str(results)]
    environment = {**os.environ, "CONFORMANCE_TOKEN": token, "NODE_OPTIONS": f"--import={BEARER.as_uri()}" if token else ""}
    log = (results / "log.txt").open("w")
    with log:
        subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=timeout, check=False)
    return _read(results)


def _read(results: Path) -> Score:
    failed: dict[str, list[str]] = {}
    seen = set()
    for found in results.glob("server-*/checks.json"):
        # The folder is named server-SCENARIO-2026-11-23T15-46-01-918Z.
        scenario = found.parent.name.removeprefix("server-").rsplit("-", 6)[0]
        seen.add(scenario)
        complaints = [
            f"{c['id']}: {c.get('errorMessage', '')}" for c in json.loads(found.read_text()) if c["status"] == "FAILURE"
        ]
        if complaints:
            failed[scenario] = complaints
    return Score(frozenset(seen - failed.keys()), failed)
