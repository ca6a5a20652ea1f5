"""One bench for all tests of a file: they share its broker, and each has arguments of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker.store.embedded import Embedded
from tests.channels.slack.bench import SEED
from tests.company.bench import Bench, opened
from tests.fakes.emulated import emulated
from tests.fakes.slack_front import SlackFront

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


@pytest.fixture(scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("company")
    store = Embedded(folder / "store")
    await store.start()
    with emulated(SEED, folder) as emulator:
        slack = SlackFront(emulator.url, SECRET)
        await slack.start()
        async with opened(store.url, slack, folder) as one:
            yield one
        await slack.stop()
    await store.stop()


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """The era of the SDK's client."""
    return str(request.param)
