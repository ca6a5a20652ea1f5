"""What one decision of the policy costs, in this process: arguments of 2 KB against 10, 100 and 1,000 rules."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import msgspec

from broker.bench.load import quantile
from broker.bench.rules import write_policy
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Effect
from broker.domain.servers import ToolDefinition
from broker.policy.evaluate import evaluate
from broker.policy.load import load
from broker.policy.model import Facts

DEFINITION = ToolDefinition("bench", "echo", {"name": "echo", "inputSchema": {"type": "object"}})


class DecisionCost(msgspec.Struct, frozen=True):
    """Times in ms; `load` is the reading of the whole folder, once."""

    rules: int
    load: float
    p50: float
    p99: float


def decision_cost(count: int, seconds: float) -> DecisionCost:
    """Evaluate one allowed call again and again for `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        begin = perf_counter()
        policy = load(write_policy(Path(folder), "http://127.0.0.1:1/mcp", count))
        loaded = perf_counter() - begin
    caller = Caller(agent="bench", owner="bob@example.com", groups=("support",))
    arguments = {"text": "hello", "amount": 40.5, "note": "n" * 1900, "lines": [{"sku": f"A{n}", "count": n} for n in range(4)]}
    call = ToolCall("bench", "echo", {"name": "echo", "arguments": arguments}, caller)
    facts = Facts(now=datetime.now(UTC), known=True, definition=DEFINITION)
    assert evaluate(policy, call, facts).effect is Effect.ALLOW
    took: list[float] = []
    until = perf_counter() + seconds
    while (begin := perf_counter()) < until:
        evaluate(policy, call, facts)
        took.append(perf_counter() - begin)
    took.sort()
    return DecisionCost(count, loaded * 1e3, quantile(took, 0.5) * 1e3, quantile(took, 0.99) * 1e3)
