"""Who may use a server at all, before any rule is asked: the same answer for calls, for lists and for the gateway."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Allow, Deny
from broker.policy.access import refusal, standing_of
from broker.policy.evaluate import evaluate, shows
from broker.policy.load import compose
from broker.policy.model import Facts, Policy

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SERVERS = b"""
servers:
  open: {url: "http://127.0.0.1:9/mcp", tools: {read: {}, write: {}}}
  listed: {url: "http://127.0.0.1:9/mcp", tools: {read: {}, write: {}}, groups: [finance]}
  split: {url: "http://127.0.0.1:9/mcp", tools: {read: {}, write: {}}, groups: {"*": [read], finance: [read, write]}}
  nobody: {url: "http://127.0.0.1:9/mcp", tools: {read: {}, write: {}}, groups: []}
  signed: {url: "http://127.0.0.1:9/mcp", tools: {read: {}, write: {}}, sign_in: person}
defaults: {unmatched: allow}
groups: {finance: [fin@example.com]}
people: {fin@example.com: {}}
"""
FIN, EVE = Caller(agent="a", user="fin@example.com"), Caller(agent="a", user="eve@example.com")
VOUCHED, ALONE = Caller(agent="a", user="v@example.com", groups=("finance",)), Caller(agent="a")

#           server    tool     who            the rule that refuses, "" where it is allowed
TABLE = [
    ("open",   "read",  EVE,     ""),
    ("listed", "read",  FIN,     ""),
    ("listed", "read",  VOUCHED, ""),
    ("listed", "read",  EVE,     "not_admitted"),
    ("listed", "read",  ALONE,   "not_admitted"),
    ("split",  "read",  EVE,     ""),
    ("split",  "write", EVE,     "not_granted"),
    ("split",  "write", FIN,     ""),
    ("nobody", "read",  FIN,     "not_admitted"),
    ("signed", "read",  EVE,     ""),
    ("signed", "read",  ALONE,   "not_signed_in"),
]  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> Policy:
    return compose({"all.yaml": SERVERS})


@pytest.mark.parametrize(("server", "tool", "caller", "rule"), TABLE)
def test_calls_and_lists_say_the_same(policy: Policy, server: str, tool: str, caller: Caller, rule: str) -> None:
    decision = evaluate(policy, ToolCall(server, tool, {}, caller), Facts(now=NOON, known=True, definition=None))
    assert (type(decision), decision.rules) == ((Deny, (rule,)) if rule else (Allow, ("unmatched",)))
    assert shows(policy, server, tool, caller) is (rule == "")


def test_a_server_whose_time_is_over_is_as_unknown_as_any_other(policy: Policy) -> None:
    over = msgspec.structs.replace(policy.servers["open"], until=NOON)
    before, after = (refusal(over, EVE, (), now=NOON + timedelta(seconds=n)) for n in (-1, 0))
    assert (before, after and after.rule) == (None, "unknown_server")


def test_a_token_without_groups_has_those_of_the_directory(policy: Policy) -> None:
    assert [standing_of(policy, who) for who in (FIN, EVE, VOUCHED, ALONE)] == [("finance",), (), ("finance",), ()]
