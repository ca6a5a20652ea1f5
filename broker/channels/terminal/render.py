"""Requests as text for a terminal. What an agent wrote can't move the cursor, hide or recolour: it is made visible first."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from broker.domain.text import clipped, visible


def table(summaries: Iterable[dict[str, Any]], now: datetime) -> str:
    """Return one line a request: id, severity, time left, title, who asks."""
    lines = [
        f"{one['id']}  {one['severity']:<8}  {_left(one, now):>9}  {_line(one['title'], 60):<60}  {_line(one['agent'], 24)}"
        for one in summaries
    ]
    return "\n".join(lines) or "nothing is waiting"


def whole(found: dict[str, Any], now: datetime) -> str:
    """Return everything of one request, in sections."""
    request = found["request"]
    head = [
        _line(request["title"], 500),
        f"{request['severity']} · {request['state']} · {_left(request, now)}",
        "",
        f"id         {request['id']}",
        f"agent      {_line(request['agent'], 200)}" + (f", owner {_line(request['owner'], 200)}" if request["owner"] else ""),
        f"calls      {_line(request['server'], 200)} → {_line(request['tool'], 200)}",
        f"digest     {request['digest']}",
        *([f"says       {_line(found['stated'], 600)} (the agent, unverified)"] if found["stated"] else []),
    ]
    return "\n".join((*head, *_arguments(found), *_people(found), *_story(found)))


def change(moved: dict[str, Any]) -> str:
    return f"{moved['id']}  {moved['state']:<10}  {_line(moved['title'], 80)}"


def _arguments(found: dict[str, Any]) -> list[str]:
    shown = ["", "arguments", _json(found["arguments"])]
    if found["rest"]:
        shown += ["", "beside the arguments", _json(found["rest"])]
    if not found["whole"]:
        shown += ["", "Some values are hidden: it can be approved on its page only, after uncovering them."]
    return shown


def _people(found: dict[str, Any]) -> list[str]:
    lines = ["", "why", *(f"  {_line(reason, 300)}" for reason in found["reasons"]), "", "who may approve"]
    lines += [f"  {one['have']} of {one['need']} of {one['group']}" for one in found["progress"]]
    if found["blocked"] and found["request"]["state"] == "pending":
        lines.append(f"  you can't: {found['blocked']}")
    if found["step_up"]:
        lines.append("  it is approved with a passkey, on its page")
    return lines


def _story(found: dict[str, Any]) -> list[str]:
    lines = ["", "what happened"]
    for moment in found["timeline"]:
        said = f": {_line(moment['said'], 300)}" if moment["said"] else ""
        lines.append(f"  {moment['at'][:19].replace('T', ' ')}  {_line(moment['what'], 200)}{said}")
    return lines


def _json(value: Any) -> str:
    text = visible(json.dumps(value, indent=2, ensure_ascii=False))
    return "\n".join(f"  {line}" for line in text.split("\n"))


def _line(text: str, limit: int) -> str:
    return clipped(visible(text, keep=""), limit)


def _left(one: dict[str, Any], now: datetime) -> str:
    if one["state"] != "pending":
        return str(one["state"])
    left = datetime.fromisoformat(one["expires_at"]) - now
    if left <= timedelta():
        return "over"
    minutes = int(left.total_seconds()) // 60
    return f"{minutes // 60} h left" if minutes >= 120 else f"{minutes} min left" if minutes else "< 1 min"
