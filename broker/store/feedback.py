"""What people said of results: by month, each answer by its mark, and how often the same was said of a tool."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from broker.insights.feedback import Said
from broker.store import keys
from broker.store.connection import Commands
from broker.store.once import Once
from broker.store.scripts import load
from broker.store.shelf import Shelf
from broker.store.usage import KEPT, UsageCounts, said_of

SAY = load("say")


class FeedbackAnswers:
    """The answers of all brokers. Each method raises `StoreUnavailable`."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._quiet = Shelf(commands, "feedback-quiet")
        self._once = Once(commands)

    async def put(self, month: str, mark: str, said: Said | None) -> None:
        """Keep an answer instead of the one with the same mark; None says nothing, and is not counted."""
        told = msgspec.json.encode(said) if said is not None else b""
        touched = (keys.feedback_given(month), keys.feedback(month))
        await self._commands.script(SAY, touched, (mark, told, int(KEPT.total_seconds())))

    async def of(self, month: str, mark: str) -> tuple[bool, Said | None]:
        """Return whether there is an answer with this mark, and which."""
        found: bytes | None = await self._commands.run("HGET", keys.feedback_given(month), mark)
        return found is not None, said_of(found) if found else None

    async def first(self, mark: str, lasts: timedelta) -> bool:
        """Set a mark; False where it was there."""
        return await self._once.first(mark, lasts)

    async def forget(self, mark: str) -> None:
        """Let it be set again."""
        await self._once.forget(mark)

    async def recent(self, person: str, today: date, limit: int) -> list[tuple[str, str]]:
        """Return server and name of the tools that a person's calls had results of lately, the latest first."""
        return await UsageCounts(self._commands).recent(person, today, limit)

    async def quiet(self, person: str) -> bool:
        """Does this person not want to be asked?"""
        return await self._quiet.get(person) is not None

    async def hush(self, person: str, quiet: bool) -> None:
        await (self._quiet.put(person, b"1") if quiet else self._quiet.delete(person))
