"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.rooms import MODULES, ROOT

TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINES_OF_A_FILE = 300
LINES_OF_A_BODY = 40


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_stays_under_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LINES_OF_A_FILE


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_function_stays_under_40_lines(path: Path) -> None:
    assert long_functions(path.read_text()) == []


def test_a_long_function_is_found() -> None:
    body = "\n".join(f"    x = {n}" for n in range(LINES_OF_A_BODY))
    assert long_functions(f'def f():\n    """Said."""\n{body}') == ["f: 40"]
    assert long_functions(f'def f():\n    """Said\n    at\n    length."""\n{body[:-10]}') == []


def long_functions(source: str) -> list[str]:
    """Return name and lines of each function whose body, without its docstring, has 40 lines or more."""
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    sizes = {node.name: body_lines(node) for node in functions}
    return [f"{name}: {lines}" for name, lines in sizes.items() if lines >= LINES_OF_A_BODY]


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
