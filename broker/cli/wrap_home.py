"""The policy folder of a wrapped server: written at the first start from what the server says of itself, then its owner's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from broker.domain.servers import Hints, ToolDefinition
from broker.registry.ports import Listing

YOU = "you@localhost"

_PEOPLE = f"""\
# You decide, on the page that `broker wrap` names when it starts.
people: {{{YOU}: {{name: You}}}}
groups: {{you: [{YOU}]}}
"""
_RULES = """\
# What the server calls reading runs, everything else asks you. Change what you like: it counts at once.
defaults:
  unmatched: require_approval
  unknown_tool: require_approval        # a tool that is new, or whose definition changed since the first start
  approval: {all_of: [{group: you}], timeout: 1h}
rules:
  - {id: reading, match: {hints: {read_only: true}}, effect: allow}
"""
_SERVERS = """\
# Written at the first start. The hints are the server's own words about its tools, taken on trust then: look through them.
servers:
  {name}:
    command: {command}
    cwd: {cwd}
    env: {env}
    tools:
{tools}
"""
_TOOL_NAME = re.compile(r"[^\s\[\]{}*?]{1,128}")


def name_of(command: Sequence[str]) -> str:
    """Return a name for a server: the last word of its command that is no option or path, `server` where there is none."""
    words = [word.rpartition("/")[2] for word in command if not word.startswith("-") and not word.startswith(("/", "."))]
    named = [word for word in words[1:] or words if re.fullmatch(r"@?[A-Za-z][A-Za-z0-9._@-]*", word)]
    found = re.sub(r"@[^@]*$", "", named[0]) if named else ""
    return re.sub(r"[^A-Za-z0-9._-]", "", found)[:40] or "server"


def home_of(name: str, command: Sequence[str], cwd: Path, root: Path) -> Path:
    """Return the folder of one wrapped server: another command, or another working folder, is another server."""
    mark = hashlib.sha256(json.dumps([list(command), str(cwd)]).encode()).hexdigest()[:8]
    return root / "wrap" / f"{name}-{mark}"


def written(listing: Listing, command: Sequence[str], cwd: Path, env: Sequence[str]) -> dict[str, str]:
    """Return the files of the folder by name."""
    facts = [f"      {json.dumps(tool.name)}: {_hints(tool)}" for tool in listing.tools if _TOOL_NAME.fullmatch(tool.name)]
    servers = _SERVERS.format(
        name=listing.server, command=json.dumps(list(command)), cwd=json.dumps(str(cwd)),
        env=json.dumps({name: f"env:{name}" for name in env}), tools="\n".join(facts) or "      {}",
    )  # fmt: skip
    return {"servers.yaml": servers, "people.yaml": _PEOPLE, "rules.yaml": _RULES}


def _hints(tool: ToolDefinition) -> str:
    """The server's claims as facts, MCP's worst case where it claims nothing."""
    claims, worst = tool.annotations, Hints()
    read_only = claims.get("readOnlyHint") is True and claims.get("destructiveHint") is not True
    if read_only:
        return "{read_only: true}"
    destructive = claims.get("destructiveHint", worst.destructive) is not False
    return f"{{read_only: false, destructive: {str(destructive).lower()}}}"
