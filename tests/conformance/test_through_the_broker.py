"""The same scores with the broker in between: what passes, passes unchanged; what waits for people, arrives all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.suite import Score, required, run
from tests.fakes.conformance_tools import listed
from tests.journeys.brokers import ALLOW_ALL, ASK_ALL, REVIEWERS, place
from tests.journeys.people import approving

Guarded = tuple[str, str]
"""Address and token."""

REVISIONS = pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])

BEYOND = {
    "2026-07-28": frozenset({"json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation"}),
    "2025-11-25": frozenset({"json-schema-2020-12", "server-session-lifecycle", "server-sse-polling"}),
}
"""Scenarios that are not scored, and that hold too."""

IMPATIENT = {"server-stateless"}
"""It hangs up after 500 and 600 ms on two of its calls: sooner than anybody has approved them."""


@contextmanager
def guarding(url: str, home: Path, rules: str) -> Iterator[tuple[str, str, str]]:
    """A broker in front of the fixture: its address, an agent's token, a reviewer's token."""
    with place(home) as here:
        here.write(
            "servers",
            {"servers": {"conformance": {"url": url, "asks_back": True, "tools": {tool.name: {} for tool in listed()}}}},
        )
        here.write("rules", rules)
        agent, reviewer = here.agent(), here.person(REVIEWERS[0])
        with here.broker() as broker:
            yield broker.url, agent, reviewer


@pytest.fixture(scope="module")
def allowing(fixture_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarding(fixture_url, tmp_path_factory.mktemp("allowing"), ALLOW_ALL) as (url, agent, _):
        yield f"{url}/mcp/conformance", agent


@pytest.fixture(scope="module")
def asking(fixture_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Every call is parked, and another program approves it after half a second."""
    with (
        guarding(fixture_url, tmp_path_factory.mktemp("asking"), ASK_ALL) as (url, agent, reviewer),
        approving(url, reviewer, 0.5),
    ):
        yield f"{url}/mcp/conformance", agent


@REVISIONS
def test_every_requirement_holds_for_allowed_calls(allowing: Guarded, revision: str, tmp_path: Path) -> None:
    url, token = allowing
    wanted = required(revision) | BEYOND[revision]
    assert run(url, revision, tmp_path, token=token).of(wanted) == Score(wanted, {})


def test_every_requirement_of_the_older_revision_holds_when_each_call_is_parked_and_approved(
    asking: Guarded, tmp_path: Path
) -> None:
    url, token = asking
    wanted = required("2025-11-25")
    assert run(url, "2025-11-25", tmp_path, token=token).of(wanted) == Score(wanted, {})


def test_all_but_impatience_holds_in_the_newer_revision_when_each_call_is_parked_and_approved(
    asking: Guarded, tmp_path: Path
) -> None:
    url, token = asking
    wanted = required("2026-07-28")
    score = run(url, "2026-07-28", tmp_path, token=token).of(wanted)
    assert (set(score.failed), score.passed) == (IMPATIENT, wanted - IMPATIENT)
