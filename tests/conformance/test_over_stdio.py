"""The official suite through the broker in front of stdio servers: the same scores, but for losses that are written down."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import Run, required, run
from tests.fakes.conformance_tools import listed
from tests.fakes.stdio_bench import ROOT
from tests.journeys.brokers import ALLOW_ALL, place

FIXTURE = (sys.executable, "-m", "tests.fakes.conformance_stdio")
SERVERS = {
    "own": {"command": [*FIXTURE], "per_session": True},
    "shared": {"command": [*FIXTURE]},
    "older-own": {"command": [*FIXTURE, "older"], "per_session": True},
    "older-shared": {"command": [*FIXTURE, "older"]},
}

SLOW = (pytest.mark.slow, pytest.mark.timeout(400))
"""The older suite begins dozens of sessions, and each may start a process."""

QUESTIONS = {"tools-call-sampling", "tools-call-elicitation", "elicitation-sep1034-defaults", "elicitation-sep1330-enums"}
"""In a process that all share, the server can't ask its callers in the middle of a call."""

LOGGING = {"logging-set-level", "tools-call-with-logging"}
"""An older server does not say whose call a log message belongs to."""

ROUNDS = {
    f"input-required-result-{name}"
    for name in (
        "basic-elicitation", "basic-list-roots", "basic-sampling", "capability-check", "multi-round",
        "multiple-input-requests", "non-tool-request", "request-state", "result-type", "tampered-state",
    )
}  # fmt: skip
"""A server of the older era knows no rounds."""

ONE_OF_THEM = {"server-stateless"}
"""Its last check calls a tool that asks."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, str]]:
    """The broker's address and an agent's token."""
    home = Path(tempfile.mkdtemp(prefix="c"))
    tools = {"cwd": ROOT, "tools": {tool.name: {} for tool in listed()}}
    with place(home) as here:
        here.write("servers", {"servers": {name: {**server, **tools} for name, server in SERVERS.items()}})
        here.write("rules", ALLOW_ALL)
        token = here.agent()
        with here.broker() as broker:
            yield broker.url, token
    shutil.rmtree(home)


@pytest.mark.parametrize(
    ("server", "revision", "lost"),
    [
        ("own", "2026-07-28", set()),
        ("shared", "2025-11-25", QUESTIONS),
        pytest.param("own", "2025-11-25", set(), marks=SLOW),
        pytest.param("older-own", "2025-11-25", set(), marks=SLOW),
        pytest.param("shared", "2026-07-28", set(), marks=SLOW),
        pytest.param("older-shared", "2025-11-25", QUESTIONS | LOGGING, marks=SLOW),
        pytest.param("older-shared", "2026-07-28", ROUNDS | ONE_OF_THEM, marks=SLOW),
    ],
)
def test_every_requirement_holds_but_for_what_is_lost(
    guarded: tuple[str, str], server: str, revision: str, lost: set[str], tmp_path: Path
) -> None:
    url, token = guarded
    wanted = required(revision)
    score = run(Run(f"{url}/mcp/{server}", revision, token), tmp_path, timeout=350).of(wanted)
    assert set(score.failed) == lost
    assert score.passed == wanted - lost
