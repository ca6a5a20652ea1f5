"""`broker servers diff`: whom a folder of policy files would let in that the one in use does not, before it is saved."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.domain.text import clipped, visible

if TYPE_CHECKING:
    from broker.policy.widening import Change, Widening


def add_diff(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add `servers diff`."""
    diff = verbs.add_parser("diff", help="say whom edited policy files would give access, server by server")
    diff.add_argument("new", type=Path, metavar="FOLDER", help="the edited copy of the policy folder")
    diff.add_argument("--old", type=Path, metavar="FOLDER", help="compare with this folder, not with the one in use")
    diff.add_argument("--no-new-access", action="store_true", help="exit status 1 when anybody gains any")
    diff.set_defaults(run=_diff)


def _diff(args: argparse.Namespace) -> int:
    """0 where nobody gains access, or nobody asked. Raises `PolicyInvalid`, `ConfigInvalid`."""
    from broker.assets import shipped  # noqa: PLC0415 - the command line starts fast
    from broker.cli.policy_tools import pinned  # noqa: PLC0415
    from broker.domain.servers import ToolDefinition  # noqa: PLC0415
    from broker.policy.load import load  # noqa: PLC0415
    from broker.registry.widened import differences  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    old = load(args.old or settings.policies or shipped("policies"), environment=settings.environment)
    new = load(args.new, environment=settings.environment)
    offers = {
        server: [(ToolDefinition(server, str(tool.get("name", "")), dict(tool)), True) for tool in tools]
        for server, tools in pinned().items()
    }
    found = differences(old, new, offers, datetime.now(UTC))
    for server, change in found.items():
        print("\n".join(_lines(server, change)))
    if not found:
        print("nobody gains or loses access to any server")
    return int(args.no_new_access and any(change.widens for change in found.values()))


def _lines(server: str, change: Widening) -> Iterator[str]:
    yield f"{_shown(server)}: {_shown(change.told)}"
    for sign, groups, people in (("+", change.groups, change.people), ("-", change.lost_groups, change.lost_people)):
        for name, changes in groups.items():
            yield f"  {sign} group {_shown(name)}: {_tools(changes)}"
        for name, changes in people.items():
            yield f"  {sign} {_shown(name)}: {_tools(changes)}"


def _tools(changes: tuple[Change, ...]) -> str:
    told = (f"{_shown(one.tool)} {one.before.value} -> {one.after.value}".replace("_", " ") for one in changes)
    return clipped(", ".join(told), 300)


def _shown(text: str) -> str:
    return clipped(visible(text, keep=""), 200)
