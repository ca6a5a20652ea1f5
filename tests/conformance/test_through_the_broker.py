"""The official suite with the broker in between: what passes, passes unchanged; what waits for people, arrives all the same.

One test runs it all at once, since most of it is waiting, and holds the README's table against what it found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.suite import Run, Score, required, run_all
from tests.fakes.conformance_tools import listed
from tests.fakes.serving import running
from tests.journeys.brokers import REVIEWERS, place
from tests.journeys.people import approving

README = Path(__file__).parents[2] / "README.md"
NEW, OLD = "2026-07-28", "2025-11-25"

BEYOND = {
    NEW: frozenset({"json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation"}),
    OLD: frozenset({"json-schema-2020-12", "server-session-lifecycle", "server-sse-polling"}),
}
"""Scenarios that are not scored, and that hold too where calls are allowed."""

IMPATIENT = frozenset({"server-stateless"})
"""It hangs up after 500 and 600 ms on two of its calls: sooner than anybody has approved them. Where nobody is asked, a busy
machine may be slower too, so it may try twice.
"""

TASKS = frozenset(
    f"tasks-{name}"
    for name in (
        "capability-negotiation", "dispatch-and-envelope", "lifecycle", "mrtr-composition", "mrtr-input", "request-headers",
        "request-state-removal", "required-task-error", "wire-fields",
    )
)  # fmt: skip
"""All but `tasks-status-notifications`, which asks for nothing yet."""

NEVER_MADE_TO = frozenset({"tasks-required-task-error"})
"""It wants calls refused to clients that take no tasks: here they are held for them."""

JOBS = ("slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task")
SOON, LATER = 0.5, 2.5
"""Seconds until a call is approved: an answer that comes within 1.5 s needs no task, and machines may be busy."""
FIRST_AT_ONCE = "test_tool_with_task"
QUICK = frozenset({"tasks-mrtr-composition"})
"""Its question has to come before there is a task: within 1.5 s, so it runs when the others are done."""

RULES = """
defaults: {approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules:
  - {id: open, match: {server: open}, effect: allow}
  - {id: greeting, match: {server: jobs, tool: greet}, effect: allow}
  - {id: asked, title: "{tool.name}", match: {server: asked}, effect: require_approval}
  - id: jobs
    title: "{tool.name}"
    match: {server: jobs, not_tool: greet}
    effect: require_approval
    approval: {all_of: [{group: patient}], timeout: 15m}
"""


class Guarded(NamedTuple):
    """The fixture's own address, the broker's, and an agent's token there."""

    fixture: str
    broker: str
    token: str


@contextmanager
def guarded(home: Path) -> Iterator[Guarded]:
    """A broker before two servers: calls to `open` pass, those to `asked` and `jobs` are approved by other programs."""
    server, jobs_server = running("tests.fakes.conformance_server"), running("tests.fakes.conformance_jobs")
    with server as fixture, jobs_server as jobs, place(home) as here:
        about = {"url": fixture, "tools": {tool.name: {} for tool in listed()}}
        here.write(
            "servers",
            {
                "servers": {
                    "open": about,
                    "asked": {**about, "asks_back": True},
                    "jobs": {"url": jobs, "asks_back": True, "tools": {tool: {} for tool in ("greet", *JOBS)}},
                }
            },
        )
        quick, patient = REVIEWERS
        here.write("people", {"groups": {"reviewers": [quick], "patient": [patient]}})
        here.write("rules", RULES)
        agent, quick_token, patient_token = here.agent(), here.person(quick), here.person(patient)
        with (
            here.broker() as broker,
            approving(broker.url, quick_token, SOON),
            approving(broker.url, patient_token, LATER, FIRST_AT_ONCE),
        ):
            yield Guarded(fixture, broker.url, agent)


@pytest.mark.timeout(400)  # six suites, on whatever machine
def test_the_suite_finds_what_the_readme_says(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with guarded(home) as at:
        scores = measured(at, tmp_path)
    new, old = required(NEW), required(OLD)
    assert (len(new), len(old)) == (37, 30)
    for who in ("direct", "open"):
        more = BEYOND if who == "open" else dict.fromkeys(BEYOND, frozenset[str]())
        assert scores[f"{who} new"].of(new | more[NEW]) == Score(new | more[NEW], {})
        assert scores[f"{who} old"].of(old | more[OLD]) == Score(old | more[OLD], {})
    assert scores["asked old"].of(old) == Score(old, {})
    assert lost(scores["asked new"].of(new), new) == IMPATIENT
    assert lost(scores["tasks"], TASKS) == NEVER_MADE_TO
    assert table(scores) in README.read_text()


def measured(at: Guarded, results: Path) -> dict[str, Score]:
    """Run everything: what works at once in pairs, what waits for people side by side."""
    scores: dict[str, Score] = {}
    for who, url, token in (("direct", at.fixture, ""), ("open", f"{at.broker}/mcp/open", at.token)):
        scores |= run_all({f"{who} new": Run(url, NEW, token), f"{who} old": Run(url, OLD, token)}, results)
        if scores[f"{who} new"].failed.keys() == IMPATIENT:
            scores |= run_all({f"{who} new": Run(url, NEW, token, IMPATIENT)}, results)
    asked, jobs = f"{at.broker}/mcp/asked", f"{at.broker}/mcp/jobs"
    waiting = {"asked new": Run(asked, NEW, at.token), "asked old": Run(asked, OLD, at.token)}
    scores |= run_all(waiting | {"tasks": Run(jobs, NEW, at.token, TASKS - QUICK)}, results)
    return scores | run_all({"tasks": Run(jobs, NEW, at.token, QUICK)}, results)


def lost(score: Score, wanted: frozenset[str]) -> set[str]:
    assert set(score.failed) == wanted - score.passed
    return set(score.failed)


def table(scores: dict[str, Score]) -> str:
    """The README's table, as measured."""

    def told(name: str, wanted: frozenset[str]) -> str:
        return f"{len(scores[name].passed & wanted)} of {len(wanted)}" if name in scores else ""

    rows = {
        "the fixture server, without the broker": ("direct new", "direct old", ""),
        "through the broker, calls allowed": ("open new", "open old", ""),
        f"each call parked, and approved by people after {SOON} s (tasks: {LATER} s)": ("asked new", "asked old", "tasks"),
    }
    lines = [f"| required scenarios passed | {NEW} | {OLD} | tasks |", "|---|---|---|---|"]
    for what, (first, second, third) in rows.items():
        cells = (told(first, required(NEW)), told(second, required(OLD)), told(third, TASKS))
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
