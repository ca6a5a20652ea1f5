"""Posts, updates and replies under Slack's rate limits. Knows nothing of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec

from broker.channels.slack.api import SlackApi
from broker.channels.slack.blocks import Block
from broker.channels.slack.lanes import Lane, Urgency
from broker.channels.slack.places import target
from broker.errors import ChannelAway, ChannelBusy


class Tempo(msgspec.Struct, frozen=True):
    """Seconds and counts of delivery, as Slack's documented limits allow them (docs.slack.dev/apis/web-api/rate-limits).

    `post`: one message a second and conversation. `update`: `chat.update` is tier 3, 50 a minute and workspace.
    `publish`: `views.publish` is tier 4, 100 a minute and workspace. `gap` and `digest_gap`: between two updates of one message.
    `crowd`: cards a minute in one conversation before they fold; `together`: those of one agent's batch.
    """

    post: float = 1.0
    post_burst: int = 2
    update: float = 1.25
    update_burst: int = 10
    gap: float = 1.5
    crowd: int = 20
    together: int = 3
    crowd_window: float = 60.0
    digest_gap: float = 4.0
    digest_holds: int = 100
    digest_window: float = 600.0
    home_gap: float = 3.0
    publish: float = 0.6
    publish_burst: int = 10
    fallback_after: float = 120.0
    look: float = 0.2
    retry: float = 2.0
    retry_most: float = 60.0
    lease: float = 10.0


class Message(msgspec.Struct, frozen=True):
    """What to post. `mark` is the sender's own; `card` names request and place, so that the post can be recognised."""

    text: str
    parts: list[Block]
    mark: str = ""
    card: tuple[str, str] | None = None
    thread: str = ""

    def body(self) -> dict[str, Any]:
        """Return the fields of `chat.postMessage`: nothing is parsed, unfurled or linked."""
        fields: dict[str, Any] = {"text": self.text, "blocks": self.parts, "unfurl_links": False, "unfurl_media": False}
        if self.thread:
            fields["thread_ts"] = self.thread
        if self.card is not None:
            payload = {"request": self.card[0], "place": self.card[1]}
            fields["metadata"] = {"event_type": "approval_card", "event_payload": payload}
        return fields


class Sent(msgspec.Struct, frozen=True):
    """Where a message is, and what it was."""

    channel: str
    ts: str
    message: Message


Make = Callable[[], Awaitable[Message | None]]
"""Makes a message at the last moment, when its turn has come; None: it is not needed any more."""

Keep = Callable[[Sent], Awaitable[None]]
"""Writes down where a message is."""


class Postman:
    """Raises `ChannelAway` and `ChannelRefused`; waits where Slack asks to wait."""

    def __init__(self, api: SlackApi, tempo: Tempo) -> None:
        self._api = api
        self._tempo = tempo
        self._lanes: dict[str, Lane] = {}
        self._updates = Lane(tempo.update, tempo.update_burst)
        self._homes = Lane(tempo.publish, tempo.publish_burst)
        self._rests_until = 0.0

    def rest(self, seconds: float) -> None:
        """Slack is away: for so long nothing is even tried."""
        self._rests_until = asyncio.get_running_loop().time() + seconds

    async def post(self, place: str, urgency: Urgency, make: Make, keep: Keep) -> Sent | None:
        """Post what `make` makes when the place's turn has come, in the order of urgency. Returns None where it made nothing.

        A broker that is stopped in between finishes the post and keeps its address first.
        """
        lane = self._lane(place)
        while True:
            async with lane.turn(urgency):
                self._awake()
                message = await make()
                if message is None:
                    return None
                try:
                    with anyio.CancelScope(shield=True):
                        sent = await self._posted(place, message)
                        await keep(sent)
                except ChannelBusy as busy:
                    lane.hold(busy.after)
                else:
                    return sent

    async def _posted(self, place: str, message: Message) -> Sent:
        told = await self._api.write("chat.postMessage", channel=target(place), **message.body())
        return Sent(str(told.get("channel", "")), str(told.get("ts", "")), message)

    async def update(self, channel: str, ts: str, urgency: Urgency, make: Make) -> Message | None:
        """Rewrite a message."""
        while True:
            async with self._updates.turn(urgency):
                self._awake()
                message = await make()
                if message is None:
                    return None
                try:
                    await self._api.write("chat.update", channel=channel, ts=ts, text=message.text, blocks=message.parts)
                except ChannelBusy as busy:
                    self._updates.hold(busy.after)
                else:
                    return message

    async def publish(self, user: str, make: Callable[[], Awaitable[Block]]) -> None:
        """Show somebody their App Home as `make` makes it when its turn has come."""
        while True:
            async with self._homes.turn((0.0,)):
                self._awake()
                try:
                    await self._api.write("views.publish", user_id=user, view=await make())
                except ChannelBusy as busy:
                    self._homes.hold(busy.after)
                else:
                    return

    async def delete(self, channel: str, ts: str) -> None:
        """Take a message of ours away."""
        await self._api.write("chat.delete", channel=channel, ts=ts)

    def _awake(self) -> None:
        if asyncio.get_running_loop().time() < self._rests_until:
            raise ChannelAway("Slack was away a moment ago")

    def _lane(self, place: str) -> Lane:
        if place not in self._lanes:
            self._lanes[place] = Lane(self._tempo.post, self._tempo.post_burst, serial=True)
        return self._lanes[place]
