from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.policy.evaluate import evaluate, shows
from broker.policy.load import load
from broker.policy.model import Facts, Policy

FILES = {
    "servers.yaml": "servers: {db: {url: 'http://127.0.0.1:9/mcp', tools: {query: {read_only: true}, write: {}}}}\n",
    "rules.yaml": "defaults: {unmatched: deny}\nrules:\n  - {id: all, match: {server: db}, effect: allow}\n",
}
SERVICE = Caller(agent="reporting", workload="spiffe://example.com/reporting")
FOR_ALICE = Caller(agent="reporting", workload="spiffe://example.com/reporting", user="alice@example.com")


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return load(tmp_path)


@pytest.mark.parametrize(
    ("caller", "tool", "rules"),
    [
        (SERVICE, "query", ("all",)),
        (SERVICE, "write", ("service_alone",)),
        (SERVICE, "unheard", ("service_alone",)),
        (FOR_ALICE, "write", ("all",)),
        (Caller(agent="bot"), "write", ("all",)),
    ],
)
def test_a_service_that_calls_for_nobody_only_reads(policy: Policy, caller: Caller, tool: str, rules: tuple[str, ...]) -> None:
    call = ToolCall("db", tool, {"name": tool, "arguments": {}}, caller)
    decision = evaluate(policy, call, Facts(now=datetime(2026, 11, 24, tzinfo=UTC), known=True, definition=None))
    assert (decision.rules, shows(policy, "db", tool, caller)) == (rules, rules == ("all",))
