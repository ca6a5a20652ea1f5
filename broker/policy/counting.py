"""Which counters a call touches: those that count it, and those that its rules read."""

from __future__ import annotations

from broker.domain.calls import ToolCall
from broker.policy.rules import Counter


def bucket(counter: Counter, call: ToolCall) -> str:
    """Return the bucket of a counter that a call falls into: the counter's name and the values of its key."""
    return "|".join(_escaped(part) for part in (counter.name, *(_value(key, call) for key in counter.key)))


def _value(key: str, call: ToolCall) -> str:
    caller = call.caller
    match key:
        case "caller":
            return (
                f"user:{caller.user}"
                if caller.user
                else f"workload:{caller.workload}"
                if caller.workload
                else f"agent:{caller.agent}"
            )
        case "agent":
            return caller.agent
        case "server":
            return call.server
        case _:
            return f"{call.server}/{call.tool}"


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace("|", "\\|")
