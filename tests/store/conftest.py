"""The contract of the store, on every server that this machine has, and servers that a test may kill."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from broker.store.embedded import Embedded

SERVERS = ("valkey", "redis-server")


def binary(server: str) -> str:
    """Return what to start; the bundled Valkey needs no path."""
    if server == "valkey":
        return ""
    found = shutil.which(server)
    if found is None:
        pytest.skip(f"{server} is not installed on this machine")
    return found


@pytest.fixture(scope="session", params=SERVERS)
def store_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the whole session, of each kind."""
    server = Embedded(tmp_path_factory.mktemp("store"), binary(request.param))
    anyio.run(server.start)
    yield server.url
    anyio.run(server.stop)


class Victim(Embedded):
    """A server that a test may kill, freeze and start again."""

    def pid(self) -> int:
        return self._child

    def kill(self) -> None:
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._child = 0

    def freeze(self) -> None:
        os.kill(self._child, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._child, signal.SIGCONT)


@pytest.fixture(params=SERVERS)
async def victim(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Victim]:
    server = Victim(tmp_path / "victim", binary(request.param))
    await server.start()
    yield server
    with suppress(ProcessLookupError):
        if server.pid():
            server.thaw()
    await server.stop()
