"""The suite's scenarios for tasks (`io.modelcontextprotocol/tasks`): the broker makes them around calls that wait for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import Score, run_each
from tests.fakes.serving import running
from tests.journeys.brokers import REVIEWERS, place
from tests.journeys.people import approving

HELD = frozenset(
    {
        "tasks-capability-negotiation",
        "tasks-dispatch-and-envelope",
        "tasks-lifecycle",
        "tasks-mrtr-composition",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-request-state-removal",
        "tasks-wire-fields",
    }
)
"""Without `tasks-required-task-error`: no client is made to take tasks."""

LATER = 1.8
"""Seconds until a call is approved: an answer that comes within 1.5 s needs no task."""

FIRST_AT_ONCE = "test_tool_with_task"
"""Its question has to come before there is a task, and its task with the answer."""

JOBS = ("slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task")
RULES = """
defaults: {approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules:
  - {id: greeting, match: {server: jobs, tool: greet}, effect: allow}
  - {id: jobs, title: "{tool.name}", match: {server: jobs, not_tool: greet}, effect: require_approval}
"""


@pytest.fixture
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and token of a broker before the jobs: greeting is free, each job is approved by another program."""
    with running("tests.fakes.conformance_jobs") as url, place(tmp_path_factory.mktemp("jobs")) as here:
        tools = {tool: {} for tool in ("greet", *JOBS)}
        here.write("servers", {"servers": {"jobs": {"url": url, "asks_back": True, "tools": tools}}})
        here.write("rules", RULES)
        agent, reviewer = here.agent(), here.person(REVIEWERS[0])
        with here.broker() as broker, approving(broker.url, reviewer, LATER, FIRST_AT_ONCE):
            yield broker.mcp("jobs"), agent


def test_calls_that_wait_for_people_are_tasks_for_clients_that_take_tasks(jobs: tuple[str, str], tmp_path: Path) -> None:
    url, token = jobs
    assert run_each(url, "2026-07-28", HELD, tmp_path, token=token) == Score(HELD, {})
