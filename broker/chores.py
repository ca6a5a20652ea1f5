"""Work that a broker repeats for as long as it runs: a round, a pause, the next. No round that fails ends the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import msgspec
import structlog

from broker.errors import StoreUnavailable

log = structlog.get_logger()


class Chore(msgspec.Struct, frozen=True):
    """`work` is one round; `every` the pause after it and `after_failure` the one after a failed round, in seconds.

    `name` begins the log's events: `<name>.waits` once when the store goes away, `<name>.failed` for anything unforeseen.
    """

    name: str
    work: Callable[[], Awaitable[object]]
    every: float
    after_failure: float | None = None

    async def round(self, before: Exception | None = None) -> Exception | None:
        """Do one round and return what went wrong; `before` is what did in the last one, and is not said twice."""
        try:
            await self.work()
        except Exception as error:
            if not _away(error):
                log.exception(f"{self.name}.failed")
            elif before is None or not _away(before):
                log.warning(f"{self.name}.waits", code=StoreUnavailable.code)
            return error
        return None

    async def repeated(self) -> None:
        """Do rounds until cancelled."""
        after_failure = self.every if self.after_failure is None else self.after_failure
        failed: Exception | None = None
        while True:
            failed = await self.round(failed)
            await anyio.sleep(after_failure if failed else self.every)


@asynccontextmanager
async def beside() -> AsyncIterator[anyio.abc.TaskGroup]:
    """Run tasks beside the body, and cancel them when it ends. What the body raises stays as it is, in no group of mistakes."""
    mistake: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:
            mistake = error
        tasks.cancel_scope.cancel()
    if mistake is not None:
        raise mistake


@asynccontextmanager
async def repeating(*chores: Chore) -> AsyncIterator[None]:
    """Repeat the chores beside the body, and cancel them when it ends."""
    async with anyio.create_task_group() as tasks:
        for chore in chores:
            tasks.start_soon(chore.repeated)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


def _away(error: Exception) -> bool:
    """Tell the store's absence, also where several tasks met it at once."""
    if isinstance(error, ExceptionGroup):
        return error.split(StoreUnavailable)[1] is None
    return isinstance(error, StoreUnavailable)
