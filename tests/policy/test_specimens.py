"""The policies that the design and its notes were written with: they load, and their tests cover everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.policy.cases import load_cases
from broker.policy.load import load
from broker.policy.suite import run

SPECIMENS = sorted((Path(__file__).parent / "specimens").iterdir())


@pytest.mark.parametrize("folder", SPECIMENS, ids=lambda folder: folder.name)
def test_a_specimen_passes_its_tests_with_full_coverage(folder: Path) -> None:
    policy = load(folder, environment="prod")
    report = run(policy, load_cases(folder, policy))
    assert (report.failures, report.uncovered, report.coverage) == ((), (), 100.0)
