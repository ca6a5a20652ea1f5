"""SECURITY.md names a test for each threat: every one of them has to exist."""

from __future__ import annotations

import re

import pytest

from tests.house.defences import Defence
from tests.house.rooms import ROOT
from tests.house.switched_off import ALL, main

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


def test_every_threat_has_a_defence_that_can_be_switched_off() -> None:
    rows = [line for line in TABLE.splitlines() if "`test_" in line and line.startswith("| ")]
    known = {defence.test for defence in ALL}
    bare = [row.split(" | ")[0] for row in rows if not known & set(re.findall(r"`(test_\w+)`", row))]
    assert bare == [], "say in tests/house/more_defences.py how to switch the defence of these threats off"
    assert sorted(known - set(NAMED)) == [], "the table of SECURITY.md does not name these tests any more"


@pytest.mark.parametrize("defence", ALL, ids=lambda defence: f"{defence.file}-{defence.test}")
def test_the_code_of_a_defence_stands_once_where_it_is_said_to(defence: Defence) -> None:
    found = (ROOT / defence.file).read_text().count(defence.code)
    assert found == 1, "the code has changed: say in tests/house/*defences.py how this defence is switched off now"


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_each_test_fails_when_its_defence_is_switched_off() -> None:
    assert main([]) == 0
