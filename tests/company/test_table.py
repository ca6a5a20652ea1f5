"""The table of README.md holds: each need has its tests, and each test of this folder has its need."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
ROW = re.compile(r"\| (\d+) \| ([^|]+) \| ([^|]+) \|")
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
LINK = re.compile(r"\]\(([^)]+)\)")
# Figures and outlooks of others, which nothing here could show, have no row.
NEEDS = {number for number in range(1, 82) if number not in (30, 38, 78, 80)}
ROWS = {int(found[1]): found[3] for line in (HERE / "README.md").read_text().splitlines() if (found := ROW.fullmatch(line))}


@cache
def written_in(file: Path) -> frozenset[str]:
    """The tests that stand in a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.parse(file.read_text()).body if isinstance(node, kinds))


def place(name: str) -> Path:
    return ROOT / name if name.startswith("tests/") else HERE / name


def test_no_need_is_missing() -> None:
    assert set(ROWS) == NEEDS


@pytest.mark.parametrize("number", sorted(ROWS))
def test_what_shows_a_need_is_there(number: int) -> None:
    named = NAMED.findall(ROWS[number])
    assert named, "no test shows it"
    assert [f"{file}::{test}" for file, test in named if test not in written_in(place(file))] == []
    assert [link for link in LINK.findall(ROWS[number]) if not (HERE / link).exists()] == []


def test_each_test_of_this_folder_shows_a_need() -> None:
    named = {(file, test) for cell in ROWS.values() for file, test in NAMED.findall(cell)}
    mine = {(file.name, test) for file in HERE.glob("test_*.py") if file != Path(__file__) for test in written_in(file)}
    assert {name for name in mine if name[1].startswith("test_")} - named == set()
