"""One question for many who ask it at the same time: those who come while it is under way share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Found = TypeVar("Found")


class Gathering(Generic[Key, Found]):
    """Whoever gets an answer knows that the question was put after they asked. One is under way for each key, one waits."""

    def __init__(self, ask: Callable[[Key], Awaitable[Found]]) -> None:
        self._ask = ask
        self._running: dict[Key, asyncio.Task[Found]] = {}
        self._waiting: dict[Key, asyncio.Task[Found]] = {}

    async def get(self, key: Key) -> Found:
        """Raises what the question raises. Being cancelled leaves the question to the others."""
        if key not in self._waiting:
            task = self._waiting[key] = asyncio.create_task(self._put(key), name=f"asking {key}")
            task.add_done_callback(_retrieved)
        return await asyncio.shield(self._waiting[key])

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [*self._running.values(), *self._waiting.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _put(self, key: Key) -> Found:
        while before := self._running.get(key):
            await asyncio.wait([before])
        task = self._running[key] = self._waiting.pop(key)
        try:
            return await self._ask(key)
        finally:
            if self._running.get(key) is task:
                del self._running[key]


def _retrieved(task: asyncio.Task[Any]) -> None:
    """Those who asked may be gone: then nobody else looks at a mistake."""
    if not task.cancelled():
        task.exception()
