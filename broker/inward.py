"""The channels towards people beside the web, wired: Slack, where its token is set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from broker.approvals.desk import Desk
from broker.approvals.ports import Channel
from broker.channels.slack.channel import Outside, SlackChannel, SlackConfig, slack_channel
from broker.channels.slack.link_page import LinkPage
from broker.channels.slack.linking import Account
from broker.channels.web.visitors import CookieJar
from broker.domain.events import Noted
from broker.domain.people import Group, People
from broker.domain.reviews import Review
from broker.errors import ConfigInvalid, PolicyInvalid
from broker.feedback import feedback_of
from broker.identity.sessions import Sessions
from broker.joined import Joined
from broker.serving import ASGIApp
from broker.settings import Settings
from broker.store.open import Store


@dataclass(frozen=True)
class Inward:
    """`channels` for the courier, `routes` for the front, and Slack itself where it is on."""

    channels: tuple[Channel, ...] = ()
    routes: Mapping[str, ASGIApp] = field(default_factory=dict)
    slack: SlackChannel | None = None


class OutsideGroups:
    """Asks outside directories about groups again. Fitness is built before the channels are: they are told to it later."""

    def __init__(self) -> None:
        self.slack: SlackChannel | None = None

    async def still_in(self, review: Review, group: Group) -> bool:
        """What Slack vouched for is asked there again; where Slack is off by now, it counts no more. Raises `ChannelError`."""
        if review.channel != SlackChannel.name:
            return bool(group.idp)
        return bool(group.slack) and self.slack is not None and await self.slack.still_in(review, group.slack)


async def inward(
    settings: Settings, policies: Joined, store: Store, desk: Desk, sessions: Sessions, broker: str, rooms: AsyncExitStack
) -> Inward:  # fmt: skip
    """Open the channels that the settings turn on, and run them until `rooms` closes. Raises `ConfigInvalid`."""
    config = slack_config(settings)
    if config is None:
        return Inward()

    def directory() -> People:
        try:
            return policies.current.people
        except PolicyInvalid:
            return People()

    def support() -> Mapping[str, str]:
        try:
            return {name: one.owner.contact for name, one in policies.current.servers.items() if one.owner.contact}
        except PolicyInvalid:
            return {}

    outside = Outside(
        desk=desk, requests=store.requests, kept=store.slack, leases=store.leases, codes=store.credentials,
        directory=directory, clock=store.clock, mask_key=await store.keys.signing_key("masks"), public_url=settings.public_url,
        broker=broker, support=support, feedback=feedback_of(store, policies.server, settings.feedback_every),
    )  # fmt: skip
    slack = await rooms.enter_async_context(slack_channel(config, outside))
    page = LinkPage(slack.linking, sessions.find, _noted(store), cookie=CookieJar(settings.public_url).name)
    routes: dict[str, ASGIApp] = {"/slack/link": page}
    if slack.http is not None:
        routes["/slack"] = slack.http
    return Inward((slack,), routes, slack)


def _noted(store: Store) -> Callable[[str, Account], Awaitable[None]]:
    async def note(person: str, account: Account) -> None:
        fields = {"team": account.team, "user": account.user}
        await store.audit.append(Noted(at=store.clock(), what="person.slack_linked", who=person, fields=fields))

    return note


def slack_config(settings: Settings) -> SlackConfig | None:
    """Return what the Slack channel needs, None where its token is not set. Raises `ConfigInvalid` for half a setup."""
    if settings.slack_bot_token is None:
        return None
    secret = settings.slack_signing_secret.get_secret_value() if settings.slack_signing_secret else ""
    app_token = settings.slack_app_token.get_secret_value() if settings.slack_app_token else ""
    if not secret and not app_token:
        raise ConfigInvalid("Slack needs BROKER_SLACK_APP_TOKEN (Socket Mode) or BROKER_SLACK_SIGNING_SECRET (HTTP)")
    return SlackConfig(
        settings.slack_bot_token.get_secret_value(),
        signing_secret=secret,
        app_token=app_token,
        default=settings.slack_conversation,
        fallback=settings.slack_fallback,
        by_email=settings.slack_by_email,
        url=settings.slack_url,
        answers=settings.slack_answers,
    )
