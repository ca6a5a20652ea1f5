"""The same scores with the broker in between: what passes, passes unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import Score, required, run
from tests.fakes.conformance_tools import listed
from tests.journeys.brokers import ALLOW_ALL, place

REVISIONS = ("2026-07-28", "2025-11-25")


@pytest.fixture(scope="module")
def allowing(fixture_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and token of a broker that allows every tool."""
    with place(tmp_path_factory.mktemp("allowing")) as here:
        here.write("servers", {"servers": {"conformance": {"url": fixture_url, "tools": {tool.name: {} for tool in listed()}}}})
        here.write("rules", ALLOW_ALL)
        token = here.agent()
        with here.broker() as broker:
            yield broker.mcp("conformance"), token


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_requirement_holds_through_a_broker_that_allows(
    allowing: tuple[str, str], revision: str, tmp_path: Path
) -> None:  # fmt: skip
    url, token = allowing
    wanted = required(revision)
    assert run(url, revision, tmp_path, token=token).of(wanted) == Score(wanted, {})
