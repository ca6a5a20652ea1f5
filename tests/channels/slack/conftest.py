"""A workspace of the emulator with its front, and a broker's desk with the channel on it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.store.open import Store
from tests.channels.slack.bench import SEED, Bench, bench_on
from tests.fakes.slack_front import SlackFront
from tests.node.install import install

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class Emulator:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def reset(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("reset\n")
        self._process.stdin.flush()
        while self._process.stdout.readline().strip() != "reset":
            pass


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Slack's Web API, by `emulate`: one process for all tests."""
    node = install()
    seed = tmp_path_factory.mktemp("slack") / "seed.json"
    seed.write_text(json.dumps(SEED))
    script = Path(__file__).parents[2] / "fakes" / "slack_emulator.mjs"
    command = [str(node.program), str(script), str(node.modules), str(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if line.startswith("listening on "))
            yield Emulator(process, line.removeprefix("listening on ").strip())
        finally:
            process.kill()


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
