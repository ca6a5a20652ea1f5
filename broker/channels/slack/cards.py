"""Brings the cards of one request to its latest state, wherever they are: posts them, rewrites them, tells their threads.

It may come late, twice or in any order: what is shown is made from the record, at the moment when it is sent.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec

from broker.channels.slack.addresses import EXTRA, adopted
from broker.channels.slack.card import bare_parts, card, outcome
from broker.channels.slack.digests import Digests
from broker.channels.slack.parts import SlackParts
from broker.channels.slack.places import Post, asks_approvers, conversations, decode_post, direct, encode_post
from broker.channels.slack.postman import Message, Sent
from broker.channels.slack.thread import Reply, next_reminder, replies
from broker.channels.slack.troubles import CONTENT, TOKEN_DEAD
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import ChannelRefused, UnknownRequest

REQUESTER = "requester"
# Urgencies: a new card before what is said of old ones.
NEW, CHANGED, SAID = 0.0, 1.0, 2.0


class Cards:
    """One request at a time; nobody else may bring the same request meanwhile."""

    def __init__(self, parts: SlackParts, digests: Digests) -> None:
        self._parts = parts
        self._posts = parts.posts
        self._requests = parts.requests
        self._postman = parts.postman
        self._digests = digests
        self._updated: dict[tuple[str, str], datetime] = {}

    async def bring(self, request_id: RequestId) -> datetime | None:
        """Return when to look again, None for never. Raises `ChannelAway`, `StoreUnavailable`, and what refuses the token."""
        try:
            request = await self._requests.get(request_id)
        except UnknownRequest:
            return None
        posts = {place: decode_post(post) for place, post in (await self._posts.of(request_id)).items()}
        places = await self._places(request, posts)
        shows = (self._show(request, place, posts.get(place, Post())) for place in places)
        looks = await asyncio.gather(*shows, return_exceptions=True)  # a place that fails holds up no other
        for failed in looks:
            if isinstance(failed, BaseException):
                raise failed
        await self._tell_requester(request, posts)
        times = [*looks, next_reminder(request, self._parts.clock())]
        return min((at for at in times if isinstance(at, datetime)), default=None)

    async def late(self, request_id: RequestId) -> None:
        """Show a request in the fallback conversation when its own have not got it by now."""
        request = await self._requests.get(request_id)
        posts = {place: decode_post(post) for place, post in (await self._posts.of(request_id)).items()}
        reached = any(post.ts or post.digest for post in posts.values())
        if self._parts.fallback and request.state is RequestState.PENDING and not reached:
            await self._show(request, self._parts.fallback, posts.get(self._parts.fallback, Post()))

    async def _places(self, request: ApprovalRequest, posts: dict[str, Post]) -> list[str]:
        places = [place for place in posts if place != REQUESTER]
        if request.state is RequestState.PENDING:
            places += [*conversations(request, self._parts.default), *await self._direct(request)]
            if self._parts.fallback and any(post.dead for post in posts.values()):
                places.append(self._parts.fallback)
        return list(dict.fromkeys(places))

    async def _direct(self, request: ApprovalRequest) -> tuple[str, ...]:
        """Direct messages: to everybody who is asked, where a rule says so; and to escalation groups that Slack can't mention."""
        groups = [group for group in request.escalated if group not in self._parts.identities.usergroups()]
        if asks_approvers(request):
            groups += [*request.plan.groups, *request.escalated]
        asked = {user for group in groups for user in await self._parts.identities.members(group)}
        ids = await self._parts.identities.slack_ids()
        return direct(asked - {ids.get(person, "") for person in request.call.caller.people})

    async def _show(self, request: ApprovalRequest, place: str, post: Post) -> datetime | None:
        try:
            if place.startswith(EXTRA):
                await self._take_away(request, place, post)
                return None
            if post.dead:
                return None
            if post.digest:
                await self._digests.changed(post.digest)
                return None
            if not post.ts:
                return await self._announce(request, place)
            return await self._rewrite(request, place, post)
        except ChannelRefused as refused:
            return await self._refused(request, place, post, refused)

    # -- new cards ----------------------------------------------------------------------------------------

    async def _announce(self, request: ApprovalRequest, place: str, *, bare: bool = False) -> datetime | None:
        if request.state is not RequestState.PENDING:
            return None
        if not self._digests.take_room(place, request):
            await self._digests.fold(request, place)
            return None
        sent = None
        try:
            sent = await self._post(request, place, bare=bare)
        finally:
            if sent is None:
                self._digests.give_room(place, request)
        return None if sent is None else self._parts.clock()  # what happened meanwhile is shown at once

    async def _post(self, request: ApprovalRequest, place: str, *, bare: bool) -> Sent | None:
        async def latest() -> Message | None:
            if place in await self._posts.of(request.id):
                return None  # adopted while it waited for its turn: the reply to an earlier post was lost
            now = await self._requests.get(request.id)
            if now.state is not RequestState.PENDING or self._parts.clock() >= now.expires_at:
                return None
            return await self._message(now, place, bare=bare)

        async def keep(sent: Sent) -> None:
            post = Post(sent.channel, sent.ts, sent.message.mark, self._parts.clock().timestamp())
            await self.adopt(request.id, place, post)
            await self._parts.troubles.over(place)

        return await self._postman.post(place, (NEW, request.opened_at.timestamp()), latest, keep)

    async def adopt(self, request_id: RequestId, place: str, post: Post) -> bool:
        """Keep where a card is, as `adopted` does."""
        return await adopted(self._posts, request_id, place, post)

    async def _message(self, request: ApprovalRequest, place: str, *, bare: bool) -> Message:
        face = await self._parts.face()
        made = card(request, face, place)
        parts = bare_parts(request, face) if bare else made.parts
        return Message(made.text, parts, made.mark, card=(request.id, place))

    async def _take_away(self, request: ApprovalRequest, place: str, post: Post) -> None:
        await self._postman.delete(post.channel, post.ts)
        await self._posts.drop(request.id, place)

    # -- cards that are there -----------------------------------------------------------------------------

    async def _rewrite(self, request: ApprovalRequest, place: str, post: Post) -> datetime | None:
        spot, now = (post.channel, post.ts), self._parts.clock()
        free_at = self._updated.get(spot, now) + timedelta(seconds=self._parts.tempo.gap)
        made = card(request, await self._parts.face(), place)
        if made.mark != post.mark:
            if spot in self._updated and now < free_at:
                return free_at
            post = await self._update(request, place, post)
        await self._tell_thread(request, place, post)
        return None

    async def _update(self, request: ApprovalRequest, place: str, post: Post) -> Post:
        async def latest() -> Message | None:
            return await self._message(await self._requests.get(request.id), place, bare=False)

        message = await self._postman.update(post.channel, post.ts, (CHANGED, request.opened_at.timestamp()), latest)
        self._updated[post.channel, post.ts] = self._parts.clock()
        if request.state.answered:
            self._updated.pop((post.channel, post.ts), None)
        post = msgspec.structs.replace(post, mark=message.mark if message else post.mark)
        await self._posts.put(request.id, place, encode_post(post))
        return post

    async def _tell_thread(self, request: ApprovalRequest, place: str, post: Post) -> None:
        if place.startswith("@"):
            return  # in a direct message the card itself is enough
        shown_at = datetime.fromtimestamp(post.at, tz=request.opened_at.tzinfo)
        for reply in replies(request, await self._parts.face(), self._parts.clock(), shown_at):
            if reply.key not in post.told:
                await self._say(place, post, reply)
                post = msgspec.structs.replace(post, told=(*post.told, reply.key))
                await self._posts.put(request.id, place, encode_post(post))

    async def _say(self, place: str, post: Post, reply: Reply) -> None:
        message = Message(reply.text, reply.parts, thread=post.ts)

        async def made() -> Message:
            return message

        await self._postman.post(place, (SAID, self._parts.clock().timestamp()), made, _nothing_more)

    async def _tell_requester(self, request: ApprovalRequest, posts: dict[str, Post]) -> None:
        """Tell the person for whom it was asked what became of it, once, where Slack shows it at all."""
        who = (await self._parts.identities.slack_ids()).get(request.call.caller.user, "")
        if not who or REQUESTER in posts or not posts or request.ended_at is None or request.state is RequestState.CANCELLED:
            return
        told = outcome(request, await self._parts.face())

        async def made() -> Message:
            return Message(told.text, told.parts)

        async def keep(sent: Sent) -> None:
            await self._posts.first(request.id, REQUESTER, encode_post(Post(sent.channel, sent.ts)))

        await self._postman.post(f"@{who}", (SAID, self._parts.clock().timestamp()), made, keep)

    # -- refusals -----------------------------------------------------------------------------------------

    async def _refused(self, request: ApprovalRequest, place: str, post: Post, refused: ChannelRefused) -> datetime | None:
        """A refusal for good: note it, give this place up, and look again at once, for the fallback."""
        if refused.reason in TOKEN_DEAD:
            raise refused
        if place.startswith(EXTRA) or (refused.reason == "message_not_found" and post.ts):
            await self._posts.drop(request.id, place)
            return self._parts.clock() if request.state is RequestState.PENDING else None
        await self._parts.troubles.note(place, refused.reason)
        if refused.reason in CONTENT and not post.ts:
            return await self._announce(request, place, bare=True)
        await self._posts.put(request.id, place, encode_post(msgspec.structs.replace(post, dead=refused.reason)))
        return self._parts.clock()


async def _nothing_more(_: Sent) -> None:
    return None
