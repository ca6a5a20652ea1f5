"""Feedback: people say how long a result would have taken them by hand. No decision depends on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import msgspec

from broker.domain.events import Noted
from broker.domain.requests import ApprovalRequest, RequestState
from broker.errors import Malformed, UnknownRequest, WrongMove
from broker.insights.feedback import MOST, Said
from broker.insights.usage import month_of

# Tools of allowed calls that a person is asked about at once: each of them once a month.
RECENT = 5
# A result that is older is not asked about any more: nobody would remember.
FRESH = timedelta(days=1)


class Answer(msgspec.Struct, frozen=True):
    """What somebody said of a result, in minutes; None: they would rather not say."""

    minutes: int | None


class Answers(Protocol):
    """What the store keeps. Each method raises `StoreUnavailable`."""

    async def put(self, month: str, mark: str, said: Said | None) -> None:
        """Keep an answer instead of the one with the same mark."""
        ...

    async def of(self, month: str, mark: str) -> tuple[bool, Said | None]:
        """Return whether there is an answer with this mark, and which; None is one that says nothing."""
        ...

    async def recent(self, person: str, today: date, limit: int) -> Sequence[tuple[str, str]]:
        """Return server and name of the tools that a person's allowed calls had results of lately, the latest first."""
        ...

    async def first(self, mark: str, lasts: timedelta) -> bool:
        """Set a mark; False where it was there."""
        ...

    async def forget(self, mark: str) -> None: ...

    async def quiet(self, person: str) -> bool: ...

    async def hush(self, person: str, quiet: bool) -> None: ...


class Feedback:
    """Takes answers from the people behind a call that ran: one each, the last one counts."""

    def __init__(
        self, answers: Answers, note: Callable[[Noted], Awaitable[None]], clock: Callable[[], datetime],
        estimate: Callable[[str, str], float], every: timedelta = timedelta(days=1),
    ) -> None:  # fmt: skip
        """`estimate` returns the minutes that a tool's owner says now, of a server and a tool. `every` is how often one person is
        sent a question about one tool; zero is never.
        """
        self._answers = answers
        self._note = note
        self._clock = clock
        self._estimate = estimate
        self._every = every

    async def asks(self, request: ApprovalRequest, person: str) -> bool:
        """Is this person asked about this result at all?"""
        return _concerns(request, person) and not await self._answers.quiet(person)

    async def answer(self, request: ApprovalRequest, person: str) -> Answer | None:
        """Return what a person said of a result, None where they said nothing yet."""
        there, said = await self._answers.of(*_place(request, person))
        return Answer(said.minutes if said is not None else None) if there else None

    async def take_turn(self, request: ApprovalRequest, person: str) -> bool:
        """May this person be sent the question now? If so, no broker sends them another about this tool before its time."""
        if not self._every or not await self.asks(request, person) or await self.answer(request, person) is not None:
            return False
        if self._clock() - _ended(request) > FRESH:
            return False
        return await self._answers.first(self._turn(request, person), self._every + FRESH)

    async def give_turn(self, request: ApprovalRequest, person: str) -> None:
        """The question could not be sent: it may be tried again."""
        await self._answers.forget(self._turn(request, person))

    def _turn(self, request: ApprovalRequest, person: str) -> str:
        """The mark of a person's turn: counted from the result's own time, so that a request has one turn however late it is."""
        number = (_ended(request) - datetime.fromtimestamp(0, UTC)) // self._every
        return f"feedback {number} {request.call.server} {request.call.tool} {person}"

    async def give(self, request: ApprovalRequest, person: str, minutes: int | None, channel: str) -> None:
        """Count what a person says, instead of what they said before; None skips the question.

        Raises `UnknownRequest` where the call is not theirs, `WrongMove` where it did not run, `Malformed` for minutes that
        nobody can have saved.
        """
        if person not in request.call.caller.people:
            raise UnknownRequest(request.id)
        if not _concerns(request, person):
            raise WrongMove("the call had no result, so it saved nobody any time", state=request.state.value)
        place = _place(request, person)
        await self._count(place, person, (request.call.server, request.call.tool), minutes, request=request.id, channel=channel)

    async def recent(self, person: str) -> list[tuple[str, str]]:
        """Return the tools of this person's allowed calls that they are asked about: results that no request has a page for."""
        if await self._answers.quiet(person):
            return []
        today = self._clock().date()
        used = await self._answers.recent(person, today, RECENT)
        return [tool for tool in used if not (await self._answers.of(*_of_tool(today, tool, person)))[0]]

    async def give_of(self, server: str, tool: str, person: str, minutes: int | None, channel: str) -> None:
        """Count what a person says that a call of a tool saves them, once a month; None skips the question.

        Raises `UnknownRequest` where they had no result of it lately, and `Malformed` as `give` does.
        """
        today, called = self._clock().date(), (server, tool)
        if called not in await self._answers.recent(person, today, RECENT):
            raise UnknownRequest("")
        await self._count(_of_tool(today, called, person), person, called, minutes, channel=channel)

    async def _count(
        self, place: tuple[str, str], person: str, called: tuple[str, str], minutes: int | None, **fields: str
    ) -> None:  # fmt: skip
        if minutes is not None and not 0 <= minutes <= MOST:
            raise Malformed(f"minutes are a whole number from 0 to {MOST}")
        server, tool = called
        estimate = self._estimate(server, tool)
        await self._answers.put(*place, Said(server, tool, estimate, minutes) if minutes is not None else None)
        given = "skipped" if minutes is None else str(minutes)
        told = {**fields, "server": server, "tool": tool, "minutes": given, "estimate": f"{estimate:g}"}
        await self._note(Noted(at=self._clock(), what="feedback.given", who=person, fields=told))

    async def quiet(self, person: str) -> bool:
        """Does this person not want to be asked?"""
        return await self._answers.quiet(person)

    async def hush(self, person: str, quiet: bool) -> None:
        """Never ask this person again, or ask them."""
        await self._answers.hush(person, quiet)
        fields = {"asked": "no" if quiet else "yes"}
        await self._note(Noted(at=self._clock(), what="feedback.set", who=person, fields=fields))


def _concerns(request: ApprovalRequest, person: str) -> bool:
    """Only a result that is no error saved anybody anything: a note says that it was one, or that nobody saw it."""
    return request.state is RequestState.COMPLETED and not request.note and person in request.call.caller.people


def _place(request: ApprovalRequest, person: str) -> tuple[str, str]:
    """The month and the mark of an answer: both stay as they are, however often one answers."""
    return month_of(_ended(request).date()), f"{request.id} {person}"


def _of_tool(today: date, called: tuple[str, str], person: str) -> tuple[str, str]:
    return month_of(today), f"{called[0]}/{called[1]} {person}"


def _ended(request: ApprovalRequest) -> datetime:
    return request.ended_at or request.opened_at
