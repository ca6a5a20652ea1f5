"""Waiting for a thing to become so, bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


async def until(check: Callable[[], Awaitable[bool]], within: float = 5.0) -> None:
    """Ask again and again until `check()` is true. Raises `TimeoutError` when it never is."""
    with anyio.fail_after(within):
        while not await check():  # noqa: ASYNC110 - what is waited for lies in another process
            await anyio.sleep(0.005)
