"""App Home: the personal inbox of everybody who opened it in the last days, kept up to date."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import anyio.to_thread

from broker.approvals.ports import Query
from broker.channels.slack.blocks import Block
from broker.channels.slack.home import IN_DIGEST, home, unknown_home, urgent_first
from broker.channels.slack.identities import Known, Stranger
from broker.channels.slack.parts import SlackParts
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, RequestState
from broker.errors import ChannelRefused

SUBJECT = "home:"
KEPT = timedelta(days=7)


class Homes:
    def __init__(self, parts: SlackParts) -> None:
        self._parts = parts
        self._planned: dict[str, datetime] = {}

    async def opened(self, user: str) -> None:
        """Somebody looks: show it at once, and keep it up to date for a week."""
        await self._parts.viewers.put(user, self._parts.clock().isoformat().encode())
        await self._parts.wanted.want(SUBJECT + user)

    async def changed(self) -> None:
        """Something moved: look at every home soon. Many moves are one look."""
        now = self._parts.clock()
        for user, seen_at in (await self._parts.viewers.all()).items():
            if now - datetime.fromisoformat(seen_at.decode()) > KEPT:
                await self._parts.viewers.delete(user)
            elif self._planned.get(user, now) <= now:
                self._planned[user] = now + timedelta(seconds=self._parts.tempo.home_gap)
                await self._parts.wanted.want(SUBJECT + user, self._planned[user])

    async def bring(self, user: str) -> None:
        """Publish one person's inbox."""

        async def latest() -> Block:
            return await self._view(user)

        try:
            await self._parts.postman.publish(user, latest)
        except ChannelRefused as refused:
            await self._parts.viewers.delete(user)
            await self._parts.troubles.note(f"{SUBJECT}{user}", refused.reason)

    async def _view(self, user: str) -> Block:
        known = await self._parts.identities.who((await self._parts.api.workspace()).team, user)
        if isinstance(known, Stranger):
            return unknown_home(known.why)
        waiting, more = await self.waiting(known)
        return await anyio.to_thread.run_sync(partial(home, waiting, await self._parts.face(), more=more))

    async def waiting(self, known: Known) -> tuple[list[ApprovalRequest], bool]:
        """Return the requests that wait for this person, the most urgent first, and whether there are more."""
        groups = self._parts.desk.groups_of(Reviewer(known.person, "slack", known.groups))
        found: dict[str, ApprovalRequest] = {}
        more = False
        for group in groups:
            query = Query(states=(RequestState.PENDING,), group=group)
            page = await self._parts.requests.find(query, limit=IN_DIGEST)
            more = more or bool(page.cursor)
            found |= {request.id: request for request in page.requests if waits_for(request, known.person)}
        return urgent_first(list(found.values())), more


def waits_for(request: ApprovalRequest, person: str) -> bool:
    """Is there something left for this person to say?"""
    said = {review.reviewer.casefold() for review in request.reviews}
    return not request.call.caller.backed_by(person) and person.casefold() not in said
