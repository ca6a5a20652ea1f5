from __future__ import annotations

from datetime import timedelta

import pytest

from broker.approvals.courier import Courier, backoff
from broker.domain.requests import ApprovalRequest, RequestState
from tests.approvals.conftest import Counter


class Board:
    """A channel that remembers what it was told; `fails` makes it refuse that many times."""

    name = "board"

    def __init__(self, fails: int = 0) -> None:
        self.seen: list[tuple[str, RequestState]] = []
        self.fails = fails

    async def sync(self, request: ApprovalRequest) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the channel is away")
        self.seen.append((request.id, request.state))


async def test_every_channel_is_told_of_every_state(counter: Counter) -> None:
    first, second = Board(), Board()
    courier = Courier(counter.store.outbox, counter.store.requests, (first, second))
    request = await counter.parked(40)
    await courier.round()
    await counter.reject(request)
    await courier.round()
    assert first.seen == second.seen == [(request.id, RequestState.PENDING), (request.id, RequestState.REJECTED)]


async def test_a_channel_that_fails_is_asked_again(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.approvals.courier.backoff", lambda attempts: timedelta(milliseconds=1))
    board = Board(fails=2)
    courier = Courier(counter.store.outbox, counter.store.requests, (board,))
    request = await counter.parked(40)
    while not board.seen:
        await courier.round()
    assert board.seen == [(request.id, RequestState.PENDING)]


def test_the_pause_before_another_try_doubles_up_to_five_minutes() -> None:
    assert [backoff(n).total_seconds() for n in (1, 2, 3, 8, 9, 50)] == [2, 4, 8, 256, 300, 300]
