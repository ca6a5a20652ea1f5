"""A server of bytes, and what reaches servers over HTTP in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from broker.upstream.http import HttpServers, Target
from tests.fakes.raw_server import RawServer, listening


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    made = RawServer()
    with anyio.fail_after(20):
        async with listening(made):
            yield made


@pytest.fixture
async def servers(server: RawServer) -> AsyncIterator[HttpServers]:
    made = HttpServers(lambda name: Target(server.url), connect_within=2, silence=0.3)
    yield made
    await made.close()
