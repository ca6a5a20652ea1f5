"""The suite's scenarios for tasks, with its jobs behind the broker: each is parked, is a task, and a second program approves."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.suite import Score, run
from tests.fakes.serving import running
from tests.journeys.brokers import REVIEWERS, place
from tests.journeys.people import approving

SCENARIOS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
)
TOOLS = ("greet", "slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task")
RULES = """
defaults: {approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules:
  - {id: greeting, match: {server: jobs, tool: greet}, effect: allow}
  - {id: jobs, title: "{tool.name}", match: {server: jobs, tool: "*_*"}, effect: require_approval}
"""
# Longer than a call is held before it becomes a task, so that every job is one, and what is cancelled at once never ran.
AFTER = 2.5


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Address, and an agent's token for each scenario: one agent's calls of two scenarios would join."""
    with running("tests.fakes.conformance_jobs") as url, place(tmp_path_factory.mktemp("jobs")) as here:
        here.write("servers", {"servers": {"jobs": {"url": url, "tools": {tool: {} for tool in TOOLS}}}})
        here.write("rules", RULES)
        tokens = {scenario: here.agent(scenario) for scenario in SCENARIOS}
        reviewer = here.person(REVIEWERS[0])
        with here.broker() as broker, approving(broker.url, reviewer, AFTER):
            yield f"{broker.url}/mcp/jobs", tokens


def test_every_scenario_of_tasks_without_questions_holds(jobs: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """They wait far more than they work, so they run side by side."""
    url, tokens = jobs

    def scored(scenario: str) -> Score:
        results = tmp_path / scenario
        results.mkdir()
        return run(url, "2026-07-28", results, token=tokens[scenario], scenario=scenario)

    with ThreadPoolExecutor(len(SCENARIOS)) as side_by_side:
        scores = list(side_by_side.map(scored, SCENARIOS))
    failed = {name: why for score in scores for name, why in score.failed.items()}
    assert (frozenset().union(*(score.passed for score in scores)), failed) == (frozenset(SCENARIOS), {})
