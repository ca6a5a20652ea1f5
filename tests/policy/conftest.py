"""Small policies from text, and calls against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Decision
from broker.domain.servers import ToolDefinition
from broker.policy.evaluate import evaluate
from broker.policy.load import compose
from broker.policy.model import Facts, Policy

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
BASE = """
groups:
  finance: [fay@example.com, finn@example.com, fred@example.com]
  leads: [lea@example.com, liam@example.com]
  all: {idp: all}
servers:
  payments:
    url: http://127.0.0.1:1/mcp
    tools: {refund: {destructive: true}, report: {read_only: true}, note: {destructive: false}}
  files: {command: [files-mcp], tools: {write: {}, read: {read_only: true}}}
"""

Load = Callable[..., Policy]
Judge = Callable[..., Decision]


@pytest.fixture
def policy_of() -> Load:
    """`policy_of(text, …)`: the texts are files beside a few groups and servers; `environment=` as in `load`."""

    def make(*texts: str, environment: str = "", base: str = BASE) -> Policy:
        contents = {f"f{index}.yaml": text.encode() for index, text in enumerate((base, *texts))}
        return compose(contents, environment=environment)

    return make


@pytest.fixture
def judge() -> Judge:
    """`judge(policy, arguments, …)`: the decision on one call, by default alice's `payments`/`refund`, a known tool."""

    def ask(
        policy: Policy, arguments: Any = None, server: str = "payments", tool: str = "refund", *, caller: Caller | None = None,
        known: bool = True, counters: Mapping[str, float] | None = None, now: datetime = NOW,
        definition: dict[str, Any] | None = None,
    ) -> Decision:  # fmt: skip
        call = ToolCall(server, tool, {"name": tool, "arguments": {} if arguments is None else arguments}, caller or alice())
        told = ToolDefinition(server, tool, definition) if definition is not None else None
        return evaluate(policy, call, Facts(now, known, told, counters or {}))

    return ask


def alice(**more: Any) -> Caller:
    return Caller(**{"user": "alice@example.com", "agent": "helper", **more})
