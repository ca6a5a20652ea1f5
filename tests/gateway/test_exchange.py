"""Coroutines that are begun before anybody awaits them go on as if somebody had from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from broker.gateway.exchange import begun


async def nothing() -> str:
    return "here"


async def breaks() -> str:
    raise ValueError("before it waits")


async def twice(waits: asyncio.Event) -> str:
    await waits.wait()
    await asyncio.sleep(0)
    return "late"


async def comforted(waits: asyncio.Future[str]) -> str:
    try:
        return await waits
    except ValueError:
        await asyncio.sleep(0)
        return "comforted"


async def test_what_is_here_already_needs_no_waiting() -> None:
    assert begun(nothing()) == ("here", None)
    with pytest.raises(ValueError, match="before it waits"):
        begun(breaks())


async def resumed(coroutine: Coroutine[Any, Any, str]) -> str:
    result, waits = begun(coroutine)
    assert result is None
    assert waits is not None
    async with asyncio.timeout(5):
        return await waits


async def test_what_waits_goes_on_where_it_was() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    assert await resumed(twice(event)) == "late"


async def test_what_goes_wrong_meanwhile_is_told_to_the_coroutine() -> None:
    waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(waits.set_exception, ValueError())
    assert await resumed(comforted(waits)) == "comforted"


async def test_a_cancelled_wait_cancels_the_coroutine() -> None:
    waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(resumed(comforted(waits)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waits.cancelled()
