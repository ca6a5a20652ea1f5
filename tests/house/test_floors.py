"""Imports only go down: never up, never sideways."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.rooms import GROUND_RULES, MODULES, PACKAGE, dotted, floor_of, imports_in, imports_of, room_of


def forbidden(here: str, imports: set[str]) -> list[str]:
    """Return the imports that go up or sideways, seen from the room `here`."""
    there = {name: room_of(name) for name in imports if name == "broker" or name.startswith("broker.")}
    return sorted(
        name
        for name, room in there.items()
        if room and room != here and floor_of(here) < 4 and floor_of(room) >= floor_of(here) and name != "broker.__version__"
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_floors_below(path: Path) -> None:
    assert forbidden(room_of(dotted(path)), imports_of(path)) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("broker.approvals.desk", "from broker.store.keys import request", ["broker.store.keys.request"]),
        ("broker.channels.slack.cards", "import broker.channels.web.pages", ["broker.channels.web.pages"]),
        ("broker.gateway.app", "from broker.settings import Settings", ["broker.settings.Settings"]),
        ("broker.audit.seal", "def f():\n    from broker.approvals import ports", ["broker.approvals.ports"]),
        ("broker.gateway.app", "from ..upstream import http", ["broker.upstream.http"]),
        (
            "broker.gateway.app",
            "from broker.approvals import ports\nfrom .wire import parse\nfrom broker.errors import Malformed",
            [],
        ),
    ],
)
def test_the_floor_test_sees_what_it_forbids(module: str, source: str, found: list[str]) -> None:
    assert forbidden(room_of(module), imports_in(source, module)) == found


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if room_of(dotted(p)) in ("domain", "policy", "insights", "errors")],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_what_is_pure_imports_no_clock_and_no_io(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports_of(path)}
    assert roots & set(GROUND_RULES) == set()


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name == "__init__.py"], ids=lambda p: str(p.parent.relative_to(PACKAGE))
)
def test_the_door_of_a_room_is_a_docstring_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the door sign says what the room is, and what it must not know"
    more = [ast.unparse(node) for node in tree.body[1:]]
    assert [line for line in more if not line.startswith("__version__ = ")] == []


def test_nothing_is_called_utils() -> None:
    refused = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base"}
    assert [str(path) for path in MODULES if path.stem in refused] == []
