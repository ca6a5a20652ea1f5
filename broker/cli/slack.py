"""`broker slack`: the app's manifest, and whether everything that it needs is there."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from broker.policy.model import Policy
    from broker.settings import Settings


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `slack manifest|check`."""
    group = commands.add_parser("slack", help="set up the Slack app, and check it")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    manifest = verbs.add_parser("manifest", help="print the app's manifest, to be pasted at api.slack.com/apps")
    manifest.add_argument("--http", action="store_true", help="for HTTP at public_url instead of Socket Mode")
    manifest.set_defaults(run=_manifest)
    check = verbs.add_parser("check", help="check tokens, scopes, clock, conversations, groups and people")
    check.set_defaults(run=lambda args: anyio.run(_check))


def _manifest(args: argparse.Namespace) -> int:
    from broker.channels.slack.manifest import manifest  # noqa: PLC0415 - the command line starts fast
    from broker.errors import ConfigInvalid  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    url = load_settings().public_url if args.http else ""
    if args.http and not url.startswith("https://"):
        raise ConfigInvalid("Slack sends to https:// alone: set BROKER_PUBLIC_URL, or leave --http for Socket Mode")
    print(json.dumps(manifest(url), indent=2))
    return 0


async def _check() -> int:
    """Print every finding. Returns 1 when something is wrong."""
    from broker.channels.slack.api import slack_session  # noqa: PLC0415
    from broker.channels.slack.check import checked  # noqa: PLC0415
    from broker.errors import ConfigInvalid  # noqa: PLC0415
    from broker.inward import slack_config  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    config = slack_config(settings)
    if config is None:
        raise ConfigInvalid("Slack is off: set BROKER_SLACK_BOT_TOKEN")
    policy = _policy(settings)
    wrong = 0
    async with slack_session() as session:
        named = _conversations(settings, policy)
        async for found in checked(config, policy.people, named, session, pages=settings.public_url):
            print(
                f"{'ok  ' if found.fine else 'BAD '}  {found.about}: {found.told}"
                + (f"\n            {found.mend}" if found.mend else "")
            )
            wrong += not found.fine
    return 1 if wrong else 0


def _policy(settings: Settings) -> Policy:
    from broker.assets import shipped  # noqa: PLC0415
    from broker.policy.load import load  # noqa: PLC0415

    return load(settings.policies or shipped("policies"), environment=settings.environment)


def _conversations(settings: Settings, policy: Policy) -> list[str]:
    """Every conversation that settings and rules name."""
    from broker.channels.slack.places import APPROVERS, PREFIX  # noqa: PLC0415
    from broker.policy.ruleset import ruleset  # noqa: PLC0415

    rules = ruleset(policy)
    approvals = [rules.defaults.approval, *(rule.approval for rule in rules.rules)]
    channels = [channel for approval in approvals if approval is not None for channel in approval.channels]
    named = [channel.removeprefix(PREFIX) for channel in channels if channel.startswith(PREFIX)]
    own = [settings.slack_conversation, settings.slack_fallback]
    return [place for place in dict.fromkeys([*own, *named]) if place and place != APPROVERS]
