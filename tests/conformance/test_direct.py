"""The fixture server itself has to be beyond doubt: what is missing through the broker is then the broker's doing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.suite import Score, required, run


@pytest.mark.parametrize(("revision", "count"), [("2026-07-28", 37), ("2025-11-25", 30)])
def test_the_fixture_meets_every_requirement_of_a_revision(fixture_url: str, revision: str, count: int, tmp_path: Path) -> None:
    wanted = required(revision)
    assert len(wanted) == count
    assert run(fixture_url, revision, tmp_path).of(wanted) == Score(wanted, {})
