"""Answers that are looked into on their way out: lists of tools, and what a server says that it can do.

A list shows what the policy might let this caller call, and our own waiting tool. An upstream's tasks are taken out of its
capabilities: they would belong to the broker, and not to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from broker.domain.calls import Caller
from broker.gateway.envelope import encoded
from broker.gateway.eras import TASKS
from broker.gateway.ports import Judge, Sized, nobody_measures
from broker.gateway.results import META, WAIT_TOOL

log = structlog.get_logger()

Json = dict[str, Any]
Edit = Callable[[Json], Json]
"""Takes the `result` of an answer and returns what the caller gets."""

# Milliseconds a client may keep a list: a changed policy has to show.
LONGEST_KEPT = 30_000
LONGEST_WAIT = 45
APPROVAL = META + "approval"

WAIT = {
    "name": WAIT_TOOL,
    "title": "Wait for an approval",
    "description": (
        "Waits for the people who were asked to approve an earlier call that answered PENDING, and returns that call's result. "
        "Harmless: it never runs anything by itself and may be called again and again."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "request_id": {"type": "string", "description": "The id that the PENDING answer gave."},
            "wait_seconds": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT, "default": LONGEST_WAIT},
        },
        "required": ["request_id"],
    },
    "annotations": {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False},
}


def tools_shown(server: str, caller: Caller, judge: Judge, *, modern: bool, sized: Sized = nobody_measures) -> Edit:
    """Return the edit of a page of `tools/list`. Private and short-lived, since it holds for this caller and policy.

    Each tool says in `_meta` whether people are asked about its calls. `sized` hears how large the page is.
    """

    def marked(tool: Json) -> Json:
        meta = tool.get("_meta")
        asks = judge.asks(server, _name(tool), caller, tool)
        return {**tool, "_meta": {**(meta if isinstance(meta, dict) else {}), APPROVAL: asks}}

    def edit(result: Json) -> Json:
        tools = result.get("tools")
        if not isinstance(tools, list):
            return result
        if any(_name(tool) == WAIT_TOOL for tool in tools):
            log.warning("gateway.tool_dropped", server=server, tool=WAIT_TOOL)
        shown = [marked(tool) for tool in tools if (name := _name(tool)) != WAIT_TOOL and judge.shows(server, name, caller)]
        if not result.get("nextCursor"):
            shown.append(WAIT)
        result["tools"] = shown
        sized(server, len(encoded(result)))
        return _kept_private(result) if modern else result

    return edit


def without_tasks(result: Json) -> Json:
    """The edit of `initialize`: the older era has no tasks here."""
    capabilities = result.get("capabilities")
    if isinstance(capabilities, dict):
        capabilities.pop("tasks", None)
        if isinstance(extensions := capabilities.get("extensions"), dict):
            extensions.pop(TASKS, None)
    return result


def with_our_tasks(result: Json) -> Json:
    """The edit of `server/discover`: tasks are offered, and they are the broker's own."""
    result = without_tasks(result)
    capabilities = result.get("capabilities")
    if isinstance(capabilities, dict):
        extensions = capabilities.get("extensions")
        capabilities["extensions"] = {**(extensions if isinstance(extensions, dict) else {}), TASKS: {}}
    return result


def _kept_private(result: Json) -> Json:
    told = result.get("ttlMs")
    result["ttlMs"] = min(told, LONGEST_KEPT) if isinstance(told, int | float) else 0
    result["cacheScope"] = "private"
    return result


def _name(tool: Any) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else ""
