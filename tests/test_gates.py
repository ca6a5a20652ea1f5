from __future__ import annotations

from typing import Any

import pytest

from broker.diagnosis import Level
from broker.gates import gate_findings
from broker.policy.load import compose
from broker.policy.model import Policy
from broker.settings import Settings, SignInProvider

RULE = "{id: pay, match: {tool: pay_out}, effect: require_approval, approval: {all_of: [{group: g, count: 2}], timeout: 5m}}"
SIGN_IN = {"sign_in": (SignInProvider(name="id", issuer="https://id.example.com", client_id="c"),)}
PROXY = {"sign_in_header": "X-Email", "trusted_proxies": ("10.0.0.1",)}
SLACK = {"slack_bot_token": "xoxb-1"}


def policy(group: str, rule: str = RULE) -> Policy:
    text = f"people: {{a@example.com: {{}}, b@example.com: {{}}}}\ngroups: {{g: {group}}}\nrules: [{rule}]\n"
    return compose({"rules.yaml": text.encode()})


@pytest.mark.parametrize(
    ("group", "settings", "unmanned"),
    [
        ("[a@example.com, b@example.com]", {}, False),
        ("[a@example.com]", {}, True),
        ("{idp: approvers}", {}, True),
        ("{idp: approvers}", SIGN_IN, False),
        ("{idp: approvers}", PROXY, False),
        ("{idp: approvers}", SLACK, True),
        ("{slack: S0123456789}", SIGN_IN, True),
        ("{slack: S0123456789}", SLACK, False),
        ("{members: [a@example.com, b@example.com], idp: approvers}", {}, False),
    ],
)
def test_a_rule_that_asks_more_than_can_be_reached_is_wrong(group: str, settings: dict[str, Any], unmanned: bool) -> None:
    found = gate_findings(policy(group), Settings(**settings))
    assert [(one.level, one.about) for one in found] == [(Level.WRONG, "rule pay")] * unmanned


def test_the_mend_names_the_setting_that_fills_the_group() -> None:
    (found,) = gate_findings(policy("{idp: approvers}"), Settings())
    assert found.told == "asks 2 of group g, where nobody can be reached: what it asks expires"
    assert found.mend == "add members in people.yaml, or set BROKER_SIGN_IN, which fills it"


def test_rules_that_do_not_ask_need_nobody() -> None:
    for change in (
        ("require_approval, ", "require_approval, mode: disabled, "),
        ("require_approval, ", "require_approval, mode: shadow, "),
    ):
        assert gate_findings(policy("{idp: approvers}", RULE.replace(*change)), Settings()) == []


def test_a_conversation_in_slack_without_slack_is_noted() -> None:
    rule = RULE.replace("timeout: 5m", "timeout: 5m, channels: ['slack:#refunds']")
    assert [one.level for one in gate_findings(policy("[a@example.com, b@example.com]", rule), Settings())] == [Level.WARNING]
    assert gate_findings(policy("[a@example.com, b@example.com]", rule), Settings(**SLACK)) == []
