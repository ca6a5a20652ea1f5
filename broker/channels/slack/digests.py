"""Digests: where more cards than people can read would come to one conversation, one message holds them all."""

from __future__ import annotations

import secrets
from collections import deque
from datetime import datetime, timedelta

import anyio.to_thread
import msgspec

from broker.channels.slack.addresses import EXTRA, adopted
from broker.channels.slack.home import digest
from broker.channels.slack.parts import SlackParts
from broker.channels.slack.places import Post, decode_post, encode_post
from broker.channels.slack.postman import Message, Sent
from broker.domain.batches import proposal
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import ChannelRefused, UnknownRequest

SUBJECT, HERE = "digest:", "here"
# Among what waits for a turn, a digest is like a card: before what is said of old ones.
NEW, CHANGED = 0.0, 1.0


class _Open(msgspec.Struct):
    """The digest of a place that still takes requests."""

    name: str
    since: datetime
    count: int = 0


def run_of(request: ApprovalRequest) -> str:
    """Return what tells one agent's batch from another's: its own label, or the run."""
    told = proposal(request)
    return f"{told.caller} {told.label}" if told.label else told.run


class Digests:
    """Counts what comes to a place, and folds what is too much: for the place, or of one agent's batch. The counts are this
    broker's own: it alone posts."""

    def __init__(self, parts: SlackParts) -> None:
        self._parts = parts
        self._posts = parts.posts
        self._recent: dict[str, deque[datetime]] = {}
        self._open: dict[str, _Open] = {}
        self._looked: dict[str, datetime] = {}

    def take_room(self, place: str, request: ApprovalRequest) -> bool:
        """May one more card come to this place? If so, it is counted."""
        now, own = self._parts.clock(), f"{place} {run_of(request)}"
        recent = {name: self._lately(name, now) for name in (place, own)}
        if len(recent[place]) >= self._parts.tempo.crowd or len(recent[own]) >= self._parts.tempo.together:
            return False
        for times in recent.values():
            times.append(now)
        return True

    def give_room(self, place: str, request: ApprovalRequest) -> None:
        """The card did not come after all."""
        for name in (place, f"{place} {run_of(request)}"):
            if self._recent.get(name):
                self._recent[name].pop()

    def _lately(self, name: str, now: datetime) -> deque[datetime]:
        """When cards came, as far as it still counts. What is empty is forgotten."""
        window = timedelta(seconds=self._parts.tempo.crowd_window)
        for one in [one for one, times in self._recent.items() if times and now - times[-1] > window]:
            del self._recent[one]
        recent = self._recent.setdefault(name, deque())
        while recent and now - recent[0] > window:
            recent.popleft()
        return recent

    async def fold(self, request: ApprovalRequest, place: str) -> None:
        """Let the open digest of a batch in a place hold a request; in a full place one digest holds all that agents ask."""
        now, own = self._parts.clock(), f"{place} {run_of(request)}"
        key = own if len(self._lately(own, now)) >= self._parts.tempo.together else place
        held = self._open.get(key)
        old = held is None or now - held.since > timedelta(seconds=self._parts.tempo.digest_window)
        if held is None or old or held.count >= self._parts.tempo.digest_holds:
            self._forget(now)
            held = self._open[key] = _Open(f"{place} {secrets.token_hex(6)}", now)
        held.count += 1
        await self._posts.fold(held.name, request.id, request.opened_at)
        await self._posts.put(request.id, place, encode_post(Post(digest=held.name, at=now.timestamp())))
        await self.changed(held.name)

    def _forget(self, now: datetime) -> None:
        """Digests that take nothing any more."""
        window = timedelta(seconds=self._parts.tempo.digest_window)
        self._open = {key: held for key, held in self._open.items() if now - held.since <= window}

    async def changed(self, name: str) -> None:
        """Look at a digest soon; many changes are one look."""
        await self._parts.wanted.want(
            SUBJECT + name, self._looked.get(name, self._parts.clock()) + timedelta(seconds=self._parts.tempo.gap)
        )

    async def bring(self, name: str) -> datetime | None:
        """Post a digest or rewrite it. Returns when to look again."""
        now, place = self._parts.clock(), name.rpartition(" ")[0]
        free_at = self._looked.get(name, now - timedelta(days=1)) + timedelta(seconds=self._parts.tempo.digest_gap)
        if now < free_at:
            return free_at
        self._looked[name] = now
        posts = {place: decode_post(post) for place, post in (await self._posts.of(SUBJECT + name)).items()}
        await self._take_away(name, [extra for extra in posts if extra.startswith(EXTRA)], posts)
        post = posts.get(HERE, Post())
        try:
            await (self._rewrite(name, post) if post.ts else self._announce(name, place))
        except ChannelRefused as refused:
            if refused.reason != "message_not_found":
                raise
            await self._posts.drop(SUBJECT + name, HERE)
        return None

    async def heard(self, subject: str, channel: str, ts: str) -> None:
        """Slack tells where a digest is. One that is none of ours, or was known, changes nothing."""
        name, post = subject.removeprefix(SUBJECT), Post(channel, ts, at=self._parts.clock().timestamp())
        if await self._posts.folded(name) and await adopted(self._posts, subject, HERE, post):
            await self.changed(name)

    async def _take_away(self, name: str, extras: list[str], posts: dict[str, Post]) -> None:
        for extra in extras:
            try:
                await self._parts.postman.delete(posts[extra].channel, posts[extra].ts)
            except ChannelRefused as refused:
                if refused.reason != "message_not_found":
                    raise
            await self._posts.drop(SUBJECT + name, extra)

    async def _announce(self, name: str, place: str) -> None:
        async def made() -> Message | None:
            if HERE in await self._posts.of(SUBJECT + name):
                return None  # adopted while it waited for its turn: the reply to an earlier post was lost
            requests = await self._waiting(name, place)
            return await self._message(requests, card=(SUBJECT + name, HERE)) if requests else None

        async def keep(sent: Sent) -> None:
            post = Post(sent.channel, sent.ts, sent.message.mark, self._parts.clock().timestamp())
            if await adopted(self._posts, SUBJECT + name, HERE, post):
                await self.changed(name)

        await self._parts.postman.post(place, (NEW, self._parts.clock().timestamp()), made, keep)

    async def _waiting(self, name: str, place: str) -> list[ApprovalRequest]:
        """What a digest begins with: what ended before anybody saw it is taken out, and never shown."""
        held = await self._held(name)
        for request in (one for one in held if one.state is not RequestState.PENDING):
            await self._posts.unfold(name, request.id)
            await self._posts.drop(request.id, place)
        return [one for one in held if one.state is RequestState.PENDING]

    async def _rewrite(self, name: str, post: Post) -> None:
        async def made() -> Message | None:
            message = await self._message(await self._held(name))
            return message if message.mark != post.mark else None

        message = await self._parts.postman.update(post.channel, post.ts, (CHANGED, self._parts.clock().timestamp()), made)
        if message is not None:
            after = msgspec.structs.replace(post, mark=message.mark)
            await self._posts.put(SUBJECT + name, HERE, encode_post(after))

    async def _held(self, name: str) -> list[ApprovalRequest]:
        found = []
        for request_id in await self._posts.folded(name):
            try:
                found.append(await self._parts.requests.get(RequestId(request_id)))
            except UnknownRequest:
                continue
        return found

    async def _message(self, requests: list[ApprovalRequest], card: tuple[str, str] | None = None) -> Message:
        made = await anyio.to_thread.run_sync(digest, requests, await self._parts.face())
        return Message(made.text, made.parts, made.mark, card=card)
