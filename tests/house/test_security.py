"""SECURITY.md names a test for each threat: every one of them has to exist."""

from __future__ import annotations

import re

from tests.house.rooms import ROOT

TABLE = (ROOT / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)`", TABLE)))


def test_every_test_that_the_table_of_threats_names_exists() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)
    }
    assert [name for name in NAMED if name not in there] == []


def test_every_threat_has_a_defence_and_a_test() -> None:
    rows = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) >= 30
    assert [row for row in rows if len(row.split(" | ")) != 3 or "`test_" not in row] == []
