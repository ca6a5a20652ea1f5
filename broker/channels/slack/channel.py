"""The Slack channel put together: what the courier calls, the door for HTTP, and what works in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import aiohttp
import anyio
import msgspec
import structlog

from broker.approvals.desk import Desk
from broker.approvals.feedback import Feedback
from broker.approvals.ports import RequestStore
from broker.channels.slack.api import ANSWERS, SLACK, SlackApi, slack_session
from broker.channels.slack.arrivals import decode
from broker.channels.slack.cards import Cards
from broker.channels.slack.delivery import LATE, Delivery
from broker.channels.slack.digests import Digests
from broker.channels.slack.homes import Homes
from broker.channels.slack.http import SlackHttp
from broker.channels.slack.identities import Identities, account_of
from broker.channels.slack.linking import Linking
from broker.channels.slack.parts import SlackParts
from broker.channels.slack.ports import Arrivals, Clock, Codes, Directory, Leases, Names, Posts, Wanted
from broker.channels.slack.postman import Postman, Tempo
from broker.channels.slack.results import Results
from broker.channels.slack.socket import SocketDoor
from broker.channels.slack.troubles import Trouble, Troubles
from broker.channels.slack.work import CARD, Work
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Review
from broker.errors import StoreUnavailable

log = structlog.get_logger()

# Seconds between two looks for what a dead broker left, and how many arrivals are taken at once.
SWEEP, BATCH = 1.0, 50


class Kept(Protocol):
    """What the store keeps for this channel."""

    @property
    def arrivals(self) -> Arrivals: ...
    @property
    def wanted(self) -> Wanted: ...
    @property
    def posts(self) -> Posts: ...
    @property
    def links(self) -> Names: ...
    @property
    def viewers(self) -> Names: ...
    @property
    def troubles(self) -> Names: ...


class SlackConfig(msgspec.Struct, frozen=True):
    """`app_token` turns Socket Mode on, `signing_secret` HTTP; at least one is needed, both may be on.

    `default` is the conversation of requests whose rules name no channel, `fallback` the one for cards that reach no other.
    """

    bot_token: str
    signing_secret: str = ""
    app_token: str = ""
    default: str = ""
    fallback: str = ""
    by_email: bool = False
    url: str = SLACK
    answers: str = ANSWERS
    tempo: Tempo = Tempo()


class SlackChannel:
    """`Channel` of the use cases. `http` is the ASGI application for `/slack/…`, None without a signing secret."""

    name = "slack"

    def __init__(
        self, parts: SlackParts, work: Work, delivery: Delivery, linking: Linking, results: Results, arrivals: Arrivals
    ) -> None:  # fmt: skip
        self._parts = parts
        self._work = work
        self._delivery = delivery
        self._results = results
        self._arrivals = arrivals
        self._arrived = asyncio.Event()
        self.linking = linking
        self.http: SlackHttp | None = None

    async def sync(self, request: ApprovalRequest) -> None:
        """Ask for the request's cards to be brought to its latest state. Returns at once; delivery has its own patience."""
        opened = request.version == 1
        await self._parts.wanted.want(CARD + request.id, request.opened_at if opened else None)
        if opened and self._parts.fallback and request.state is RequestState.PENDING:
            late = request.opened_at + timedelta(seconds=self._parts.tempo.fallback_after)
            await self._parts.wanted.want(LATE + request.id, late)
        await self._results.moved(request)
        self._delivery.wake()

    async def troubles(self) -> list[Trouble]:
        """What does not work in Slack now, with the mend."""
        return await self._parts.troubles.all()

    async def still_in(self, review: Review, usergroup: str) -> bool:
        """Does Slack still hold the account of a review in a user group? Raises `ChannelError` where Slack does not say."""
        return await self._parts.identities.still_in(account_of(review.view), usergroup)

    def arrived(self) -> None:
        """Something was kept: work on it now."""
        self._arrived.set()

    async def work(self) -> None:
        """Work on what arrives, and on what a dead broker left."""
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    for entry, body in await self._arrivals.take(BATCH):
                        tasks.start_soon(self._handle, entry, body)
                except StoreUnavailable:
                    await anyio.sleep(SWEEP)
                with anyio.move_on_after(SWEEP):
                    await self._arrived.wait()
                self._arrived.clear()

    async def _handle(self, entry: str, body: bytes) -> None:
        try:
            await self._work.handle(decode(body))
        except StoreUnavailable:
            return  # it stays held by us, and is taken again after a while
        except Exception:
            log.exception("slack.arrival.failed")
        await self._done(entry)
        self._delivery.wake()

    async def _done(self, entry: str) -> None:
        try:
            await self._arrivals.done(entry)
        except StoreUnavailable:
            log.info("slack.arrival.twice")


@dataclass(frozen=True)
class Outside:
    """Everything that the wiring hands in. `now` is the wall clock, against which Slack's signatures are judged."""

    desk: Desk
    requests: RequestStore
    feedback: Feedback
    kept: Kept
    leases: Leases
    codes: Codes
    directory: Directory
    clock: Clock
    mask_key: bytes
    public_url: str
    broker: str
    now: Callable[[], float] = time.time
    support: Callable[[], Mapping[str, str]] = dict


@asynccontextmanager
async def slack_channel(config: SlackConfig, outside: Outside) -> AsyncIterator[SlackChannel]:
    """Open the channel, and run it until the end."""
    async with slack_session() as session, anyio.create_task_group() as tasks:
        parts = _parts(config, outside, session)
        channel, delivery = _joined(parts, outside)
        if config.signing_secret:
            secret, arrivals = config.signing_secret, outside.kept.arrivals
            channel.http = SlackHttp(secret, arrivals, arrived=channel.arrived, now=outside.now)
        if config.app_token:
            tasks.start_soon(_door(config, outside, session, parts, channel).forever)
        tasks.start_soon(delivery.forever)
        tasks.start_soon(channel.work)
        try:
            yield channel
        finally:
            tasks.cancel_scope.cancel()


def _parts(config: SlackConfig, outside: Outside, session: aiohttp.ClientSession) -> SlackParts:
    api = SlackApi(config.bot_token, session, url=config.url, answers=config.answers)
    kept = outside.kept
    return SlackParts(
        desk=outside.desk, requests=outside.requests, feedback=outside.feedback,
        posts=kept.posts, wanted=kept.wanted, viewers=kept.viewers, api=api,
        postman=Postman(api, config.tempo),
        identities=Identities(api, kept.links, outside.directory, by_email=config.by_email),
        troubles=Troubles(kept.troubles, outside.clock), clock=outside.clock, tempo=config.tempo, mask_key=outside.mask_key,
        public_url=outside.public_url, default=config.default, fallback=config.fallback, support=outside.support,
    )  # fmt: skip


def _joined(parts: SlackParts, outside: Outside) -> tuple[SlackChannel, Delivery]:
    digests, homes, results = Digests(parts), Homes(parts), Results(parts)
    cards = Cards(parts, digests)
    linking = Linking(outside.codes, parts.identities, public_url=parts.public_url)
    delivery = Delivery(parts, cards, digests, homes, results, outside.leases, broker=outside.broker)
    work = Work(parts, cards, digests, homes, linking, results)
    return SlackChannel(parts, work, delivery, linking, results, outside.kept.arrivals), delivery


def _door(
    config: SlackConfig, outside: Outside, session: aiohttp.ClientSession, parts: SlackParts, channel: SlackChannel
) -> SocketDoor:
    api = SlackApi(config.app_token, session, url=config.url)
    return SocketDoor(
        api, session, outside.kept.arrivals, outside.leases, parts.troubles, arrived=channel.arrived, broker=outside.broker
    )
