"""The SDK is imported late, in threads too: always the whole package before a part of it.

Two threads that begin with different parts each hold a lock that the other needs. Python then shows one of them half a module,
and the import fails: a broker with stdio servers could end at its start.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BROKER = Path(__file__).parents[2] / "broker"
PARTS = ("mcp.shared.inbound", "mcp.client.stdio")


def late_parts(tree: ast.AST) -> list[tuple[int, bool]]:
    """The line of each import of a part of the SDK inside a function, and whether the whole came first."""
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            whole = {node.lineno for node in inside if isinstance(node, ast.Import) and node.names[0].name == "mcp"}
            parts = {
                node.lineno for node in inside if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mcp.")
            }
            found += [(line, any(first < line for first in whole)) for line in sorted(parts)]
    return found


def test_the_whole_sdk_is_imported_before_its_parts() -> None:
    rooms = ("upstream", "gateway", "approvals", "registry", "channels", "store", "identity", "audit")
    files = [file for room in rooms for file in (BROKER / room).rglob("*.py")]
    found = {
        f"{file.relative_to(BROKER)}:{line}": first for file in files for line, first in late_parts(ast.parse(file.read_text()))
    }
    assert found
    assert [place for place, first in found.items() if not first] == []


RACE = """
import importlib, sys, threading

def late(whole, part, failed):
    while "mcp" not in sys.modules and part != sys.argv[2]:
        pass
    try:
        if whole:
            importlib.import_module("mcp")
        importlib.import_module(part)
    except ImportError as error:
        failed.append(part)

sys.setswitchinterval(1e-6)
failed = []
threads = [threading.Thread(target=late, args=(sys.argv[1] == "whole", part, failed)) for part in sys.argv[2:]]
for thread in reversed(threads):
    thread.start()
for thread in threads:
    thread.join()
print(len(failed))
"""


@pytest.mark.parametrize("parts", [PARTS, PARTS[::-1]], ids=["inbound first", "stdio first"])
def test_two_threads_may_import_parts_of_the_sdk_at_once(parts: tuple[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", RACE, "whole", *parts], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "0\n"
