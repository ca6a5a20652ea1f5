"""One question for many: nobody gets an answer that is older than their asking."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from broker.registry.gathering import Gathering


class Source:
    """Answers with how often it was asked, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = asyncio.Event()
        self.began = asyncio.Event()

    async def ask(self, key: str) -> int:
        self.asked += 1
        mine = self.asked
        self.began.set()
        await self.let.wait()
        if key == "broken":
            raise ValueError(mine)
        return mine


async def test_those_who_come_meanwhile_share_the_next_question() -> None:
    source = Source()
    gathering = Gathering(source.ask)
    answers: dict[str, int] = {}

    async def get(name: str) -> None:
        answers[name] = await gathering.get("one")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, "first")
            await source.began.wait()
            for name in ("second", "third", "fourth"):
                tasks.start_soon(get, name)
            await anyio.lowlevel.checkpoint()
            source.let.set()
    assert answers == {"first": 1, "second": 2, "third": 2, "fourth": 2}


async def test_one_who_leaves_takes_the_answer_from_nobody() -> None:
    source = Source()
    gathering = Gathering(source.ask)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gathering.get, "one")
            await source.began.wait()
            tasks.cancel_scope.cancel()
        source.let.set()
        assert await gathering.get("one") == 2


async def test_a_mistake_reaches_everybody_and_the_next_question_is_put() -> None:
    source = Source()
    source.let.set()
    gathering = Gathering(source.ask)
    for _ in range(2):
        with pytest.raises(ValueError):
            await gathering.get("broken")
    assert await gathering.get("one") == 3
    await gathering.close()
