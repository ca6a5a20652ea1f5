"""`bank` is a guarded server in a process of its own; `rig` the gateway before it: `transfer` asks finance, `burn` is denied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from broker.gateway.voices import Pace
from broker.store.open import Store
from tests.fakes.asking import asks_twice
from tests.fakes.ledger_server import Ledger, ledger
from tests.fakes.scripted import Upstream
from tests.gateway.rig import Policies, Rig, serving


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger(tmp_path_factory.mktemp("ledger") / "effects") as running:
        yield running


@pytest.fixture
def policies(tmp_path: Path, bank: Ledger) -> Policies:
    bank.path.unlink(missing_ok=True)
    folder = tmp_path / "policies"
    folder.mkdir()
    return Policies(folder, {"ledger": bank.url})


@pytest.fixture
async def rig(store: Store, policies: Policies) -> AsyncIterator[Rig]:
    async with Rig(store, policies).running() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    # plain HTTP: no certificates to load
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(headers={"authorization": "Bearer alice"}, timeout=30, limits=limits, verify=False) as client:
        yield client


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A server in this process that does what a test says; its address is `upstream.url`."""
    server = Upstream()
    async with serving(server) as server.url:
        yield server


@pytest.fixture
async def scripted(store: Store, tmp_path: Path, upstream: Upstream) -> AsyncIterator[Rig]:
    """The gateway in front of `upstream`, under the name `scripted`: `echo` passes, `park_me` asks finance."""
    folder = tmp_path / "policies"
    folder.mkdir()
    rig = Rig(store, Policies(folder, {"scripted": upstream.url}), pace=Pace(commit_after=0.1, beat=0.1))
    async with rig.running():
        yield rig


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    server = Upstream()
    async with serving(server) as server.url:
        yield server


@pytest.fixture
async def joint(store: Store, tmp_path: Path, upstream: Upstream, other: Upstream) -> AsyncIterator[Rig]:
    """`one` and `two` are there, `gone` is not."""
    folder = tmp_path / "policies"
    folder.mkdir()
    policies = Policies(folder, {"one": upstream.url, "two": other.url, "gone": "http://127.0.0.1:1/mcp"})
    async with Rig(store, policies, pace=Pace(commit_after=0.1, beat=0.1)).running() as rig:
        yield rig


@pytest.fixture
async def asking(store: Store, tmp_path: Path, upstream: Upstream) -> AsyncIterator[Rig]:
    """The gateway in front of a server that may ask back, `scripted`, and of the same one that may not, `silent`."""
    folder = tmp_path / "policies"
    folder.mkdir()
    policies = Policies(folder, {"scripted": upstream.url})
    server = f"url: '{upstream.url}', tools: {{park_me: {{}}, echo: {{}}}}"
    policies.write(servers=f"servers: {{scripted: {{{server}, asks_back: true}}, silent: {{{server}}}}}")
    upstream.on["tools/call"] = asks_twice
    async with Rig(store, policies, pace=Pace(commit_after=0.5, beat=0.1)).running() as running:
        yield running
