"""A workspace of the emulator with its front, and a broker's desk with the channel on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.store.open import Store
from tests.channels.slack.bench import SEED, Bench, bench_on
from tests.fakes.emulated import Emulator, emulated
from tests.fakes.slack_front import SlackFront

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Slack's Web API: one process for all tests."""
    with emulated(SEED, tmp_path_factory.mktemp("slack")) as one:
        yield one


@pytest.fixture
async def front(emulator: Emulator) -> AsyncIterator[SlackFront]:
    """A fresh workspace behind its front."""
    await asyncio.to_thread(emulator.reset)
    front = SlackFront(emulator.url, SECRET)
    await front.start()
    yield front
    await front.stop()


@pytest.fixture
async def bench(store: Store, front: SlackFront, tmp_path: Path) -> Bench:
    """A broker with the channel, not yet running."""
    return await bench_on(store, front, tmp_path / "policies")
