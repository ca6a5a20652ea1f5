"""Work that is repeated: what a round that fails does to the next, and what the log says of it."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from broker.chores import Chore, beside, repeating
from broker.errors import StoreUnavailable

AWAY = StoreUnavailable("the store is away")


class Rounds:
    """Does what it is told, round by round, and says when all is done."""

    def __init__(self, *told: Exception | None) -> None:
        self._told = list(told)
        self.over = anyio.Event()

    async def work(self) -> None:
        if not self._told:
            self.over.set()
            return
        if (error := self._told.pop(0)) is not None:
            raise error


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([None, None], []),
        ([AWAY, AWAY, AWAY], [("warning", "chore.waits")]),
        ([AWAY, None, AWAY], [("warning", "chore.waits"), ("warning", "chore.waits")]),
        ([ExceptionGroup("at once", [AWAY, AWAY])], [("warning", "chore.waits")]),
        ([ExceptionGroup("at once", [AWAY, ValueError("odd")])], [("error", "chore.failed")]),
        ([ValueError("odd"), ValueError("odd")], [("error", "chore.failed"), ("error", "chore.failed")]),
        ([ValueError("odd"), AWAY], [("error", "chore.failed"), ("warning", "chore.waits")]),
    ],
)
async def test_a_round_that_fails_is_followed_by_the_next_and_an_absence_is_said_once(
    told: list[Exception | None], said: list[tuple[str, str]]
) -> None:
    rounds = Rounds(*told)
    with capture_logs() as logs, anyio.fail_after(10):
        async with repeating(Chore("chore", rounds.work, 0.0)):
            await rounds.over.wait()
    assert [(line["log_level"], line["event"]) for line in logs] == said


async def test_a_failed_round_may_be_followed_by_a_pause_of_its_own() -> None:
    rounds = Rounds(AWAY)
    with anyio.fail_after(10):
        async with repeating(Chore("chore", rounds.work, every=3600, after_failure=0.0)):
            await rounds.over.wait()


async def test_the_body_ends_every_chore() -> None:
    first, second = Rounds(), Rounds()
    with anyio.fail_after(10):
        async with repeating(Chore("first", first.work, 3600), Chore("second", second.work, 3600)):
            await first.over.wait()
            await second.over.wait()


async def test_what_the_body_raises_is_in_no_group_and_its_tasks_are_over() -> None:
    over = anyio.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            over.set()

    with anyio.fail_after(10), pytest.raises(StoreUnavailable):
        async with beside() as tasks:
            tasks.start_soon(work)
            await anyio.lowlevel.checkpoint()
            raise AWAY
    assert over.is_set()
