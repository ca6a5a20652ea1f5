"""Fixtures for every room: a real embedded store.

`embedded_store`  the address (unix://…) of one embedded Valkey that runs for the whole session; tests share it
`store`           an open, empty `Store` on it, for one test: requests, changes, outbox, audit, counters, credentials, …
`open_another`    `async with open_another("broker-2") as second:` opens the same store as one more broker
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest
import structlog

from broker.store.connection import Commands
from broker.store.embedded import Embedded
from broker.store.open import Store, open_store


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that ran inside a test has set its own logging: the next test begins with the library's."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Embedded(tmp_path_factory.mktemp("store"))
    anyio.run(server.start)
    yield server.url
    anyio.run(server.stop)


@pytest.fixture
def store_url(embedded_store: str) -> str:
    """The server under test: tests of the store itself override it to run on others as well."""
    return embedded_store


@pytest.fixture
async def store(store_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    await empty(store_url)
    async with open_store(store_url, data=tmp_path / "data", broker_id="broker-1") as opened:
        yield opened


@pytest.fixture
def open_another(store: Store, tmp_path: Path) -> Callable[[str], AbstractAsyncContextManager[Store]]:
    return lambda name: open_store(store.url, data=tmp_path / name, broker_id=name)


async def empty(url: str) -> None:
    """Forget everything that an earlier test left on the server."""
    commands = Commands(url, "tests", lambda _: None)
    commands.start()
    try:
        await commands.run("FLUSHALL")
    finally:
        await commands.stop()


@pytest.fixture
async def raw(store_url: str) -> AsyncIterator[Commands]:
    """Commands past the store, to see what it wrote and to break things."""
    commands = Commands(store_url, "tests", lambda _: None)
    commands.start()
    yield commands
    await commands.stop()
