"""Delivery: looks at what is wanted, when it is due. One broker does it at a time, so that limits hold and order is kept.

Slack being away stops all of it for a growing while; what was wanted stays wanted.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

import anyio
import anyio.abc
import structlog

from broker.channels.slack.cards import Cards
from broker.channels.slack.digests import SUBJECT as DIGEST
from broker.channels.slack.digests import Digests
from broker.channels.slack.homes import SUBJECT as HOME
from broker.channels.slack.homes import Homes
from broker.channels.slack.parts import SlackParts
from broker.channels.slack.ports import Leases
from broker.channels.slack.results import SUBJECT as RESULT
from broker.channels.slack.results import Results
from broker.channels.slack.troubles import TOKEN
from broker.channels.slack.work import CARD
from broker.domain.requests import RequestId
from broker.errors import ChannelAway, ChannelBusy, ChannelRefused, StoreUnavailable

log = structlog.get_logger()

LEASE = "slack-delivery"
LATE = "late:"
BATCH = 200
# Failures of ours, not of Slack's, after which a subject is given up and noted as trouble.
TRIES = 6


class Delivery:
    def __init__(
        self, parts: SlackParts, cards: Cards, digests: Digests, homes: Homes, results: Results, leases: Leases, *, broker: str
    ) -> None:  # fmt: skip
        self._parts = parts
        self._cards = cards
        self._digests = digests
        self._homes = homes
        self._results = results
        self._leases = leases
        self._broker = broker
        self._woken = asyncio.Event()
        self._busy: set[str] = set()
        self._failed: dict[str, int] = {}
        self._away = 0
        self._rests_until = parts.clock()

    def wake(self) -> None:
        """Look now, not at the next round."""
        self._woken.set()

    async def forever(self) -> None:
        """Deliver while this broker holds the lease; stand by while another does."""
        lasts = timedelta(seconds=self._parts.tempo.lease)
        while True:
            if await self._held(lasts):
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._keep, tasks.cancel_scope, lasts)
                        tasks.start_soon(self._rounds, tasks)
                finally:
                    with anyio.CancelScope(shield=True), suppress(StoreUnavailable):
                        await self._leases.give_up(LEASE, self._broker)
            await anyio.sleep(lasts.total_seconds() / 3)

    async def _held(self, lasts: timedelta) -> bool:
        try:
            return await self._leases.lease(LEASE, self._broker, lasts)
        except StoreUnavailable:
            return False

    async def _keep(self, scope: anyio.CancelScope, lasts: timedelta) -> None:
        """Renew the lease; stop delivering when it is lost, or may be."""
        while True:
            await anyio.sleep(lasts.total_seconds() / 3)
            if not await self._held(lasts):
                return scope.cancel()

    async def _rounds(self, tasks: anyio.abc.TaskGroup) -> None:
        self._busy.clear()
        while True:
            with suppress(StoreUnavailable):
                await self._round(tasks)
            self._woken.clear()
            with anyio.move_on_after(self._parts.tempo.look):
                await self._woken.wait()

    async def _round(self, tasks: anyio.abc.TaskGroup) -> None:
        now = self._parts.clock()
        if now < self._rests_until:
            return
        probing = self._away > 0  # after a rest one is enough to see whether Slack is back
        for subject, score in await self._parts.wanted.due(BATCH + len(self._busy), now):
            if probing and self._busy:
                return
            if subject not in self._busy:
                self._busy.add(subject)
                tasks.start_soon(self._attend, subject, score)

    async def _attend(self, subject: str, score: int) -> None:
        try:
            with suppress(StoreUnavailable):
                again = await self._looked(subject)
                await self._parts.wanted.settle(subject, score, again)
        finally:
            self._busy.discard(subject)
            self._woken.set()

    async def _looked(self, subject: str) -> datetime | None:
        """Look at one subject and return when to look again."""
        try:
            again = await self._bring(subject)
        except ChannelAway as error:
            return self._rest(error.message)
        except ChannelBusy as busy:
            return self._parts.clock() + timedelta(seconds=busy.after)
        except ChannelRefused as refused:
            await self._parts.troubles.note(TOKEN, refused.reason)
            return self._rest(refused.message)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("slack.failed", subject=subject)
            return await self._given_up(subject)
        self._away = 0
        self._failed.pop(subject, None)
        await self._parts.troubles.over(TOKEN)
        return again

    async def _bring(self, subject: str) -> datetime | None:
        if subject.startswith(CARD):
            await self._homes.changed()
            return await self._cards.bring(RequestId(subject.removeprefix(CARD)))
        if subject.startswith(LATE):
            await self._cards.late(RequestId(subject.removeprefix(LATE)))
        elif subject.startswith(DIGEST):
            return await self._digests.bring(subject.removeprefix(DIGEST))
        elif subject.startswith(HOME):
            await self._homes.bring(subject.removeprefix(HOME))
        elif subject.startswith(RESULT):
            await self._results.bring(RequestId(subject.removeprefix(RESULT)))
        return None

    def _rest(self, why: str) -> datetime:
        """Slack is away: nobody tries for a while, which grows. Those who fail together count once."""
        now = self._parts.clock()
        if now >= self._rests_until:
            pause = min(self._parts.tempo.retry * 2**self._away, self._parts.tempo.retry_most)
            self._away = min(self._away + 1, 16)
            self._rests_until = now + timedelta(seconds=pause)
            self._parts.postman.rest(pause)
            log.warning("slack.away", why=why, seconds=pause)
        return self._rests_until

    async def _given_up(self, subject: str) -> datetime | None:
        """A mistake of ours: a few tries, then it is noted and left."""
        self._failed[subject] = self._failed.get(subject, 0) + 1
        if self._failed[subject] < TRIES:
            return self._parts.clock() + timedelta(seconds=self._parts.tempo.retry * 2 ** self._failed[subject])
        del self._failed[subject]
        await self._parts.troubles.note(subject, "it could not be shown: see the log")
        return None
