"""The map of the house: which room lies on which floor, and what a module imports."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "broker"

FLOORS = {
    "errors": -1,
    "domain": 0,
    "policy": 1,
    "insights": 1,
    "chores": 1,  # what use cases and adapters repeat for as long as a broker runs
    "approvals": 2,
    "registry": 2,
    "audit": 2,
    "outgoing": 2,  # the one way out over HTTP, which adapters share
    "gateway": 3,
    "upstream": 3,
    "store": 3,
    "identity": 3,
    "channels.push": 3,
    "channels.slack": 3,
    "channels.web": 3,
    "channels.terminal": 3,
    "channels.webhook": 3,
    "channels": 3,
}
GROUND_RULES = ("asyncio", "anyio", "aiohttp", "redis", "litestar", "mcp", "time", "socket", "httpx2", "slack_sdk")
WIRING = 4

MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """`broker/store/keys.py` is `broker.store.keys`, a package is its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the room of a dotted module: `channels.web` and its like are rooms of their own; wiring is `app`, `cli`, …"""
    parts = module.split(".")[1:]
    if parts[:1] == ["channels"] and len(parts) > 1:
        return ".".join(parts[:2])
    return parts[0] if parts else ""


def floor_of(room: str) -> int:
    return FLOORS.get(room, WIRING)


def imports_of(path: Path) -> set[str]:
    """Return the dotted names that a module imports, relative imports resolved; also those inside functions."""
    return imports_in(path.read_text(), dotted(path) if path.name != "__init__.py" else dotted(path) + ".__init__")


def imports_in(source: str, module: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])]) if node.level else node.module
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found
