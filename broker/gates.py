"""Unmanned gates: rules that ask people of whom, as this broker is set up, too few can be reached. All of it expires."""

from __future__ import annotations

from collections.abc import Iterator

from broker.diagnosis import Finding, Level
from broker.domain.decisions import Effect, Requirement
from broker.domain.people import Group
from broker.policy.model import Policy
from broker.policy.rules import Approval, Mode
from broker.policy.ruleset import ruleset
from broker.settings import Settings


def gate_findings(policy: Policy, settings: Settings) -> list[Finding]:
    """Return what is wrong with the approvals that rules and defaults ask for."""
    return [found for name, approval in _asking(policy) for found in _unmanned(name, approval, policy, settings)]


def _asking(policy: Policy) -> Iterator[tuple[str, Approval]]:
    rules = ruleset(policy)
    defaults = rules.defaults
    if defaults.approval is not None and Effect.REQUIRE_APPROVAL in (defaults.unmatched, defaults.unknown_tool):
        yield "defaults.approval", defaults.approval
    for rule in rules.rules:
        if rule.mode is Mode.ENFORCE and rule.outcome is Effect.REQUIRE_APPROVAL and rule.approval is not None:
            yield f"rule {rule.id}", rule.approval


def _unmanned(name: str, approval: Approval, policy: Policy, settings: Settings) -> Iterator[Finding]:
    for need in approval.all_of:
        group = policy.people.groups.get(need.group, Group(need.group))
        known = len(set(group.members))
        if known < need.count and not _filled(group, settings):
            yield Finding(Level.WRONG, name, _told(need, known), _mend(group))
    if settings.slack_bot_token is None and any(channel.startswith("slack:") for channel in approval.channels):
        told = "names a conversation in Slack, and Slack is not set up: people see the request on the page alone"
        yield Finding(Level.WARNING, name, told, "set BROKER_SLACK_BOT_TOKEN, or take `channels` away")


def _filled(group: Group, settings: Settings) -> bool:
    """Can anybody be vouched for as a member, beside those that are written down?"""
    signs_in = bool(settings.sign_in or settings.sign_in_header)
    return bool(group.idp and signs_in) or bool(group.slack and settings.slack_bot_token)


def _told(need: Requirement, known: int) -> str:
    return f"asks {need.count} of group {need.group}, where {known or 'nobody'} can be reached: what it asks expires"


def _mend(group: Group) -> str:
    outside = [(group.idp, "BROKER_SIGN_IN"), (group.slack, "BROKER_SLACK_BOT_TOKEN")]
    ways = "".join(f", or set {setting}, which fills it" for name, setting in outside if name)
    return f"add members in people.yaml{ways}"
