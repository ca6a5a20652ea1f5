"""How much some work is, counted and not timed: a neighbour on the machine changes nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


def steps(work: Callable[[], object]) -> int:
    """Count the calls of functions that some work makes, those in C included."""
    count = 0

    def seen(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@asynccontextmanager
async def turns() -> AsyncIterator[list[int]]:
    """Count the same between each turn of the event loop and the next; the list holds the counts once it is over."""
    counts, count = [0], 0

    def seen(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    async def turn() -> None:
        nonlocal count
        while True:
            await asyncio.sleep(0)
            counts.append(count)
            count = 0

    turning = asyncio.create_task(turn())
    sys.setprofile(seen)
    try:
        yield counts
    finally:
        sys.setprofile(None)
        turning.cancel()
