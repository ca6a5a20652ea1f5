from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from broker.errors import ConfigInvalid, StoreUnavailable
from broker.store import keys
from broker.store.connection import Commands, connect
from broker.store.open import Store, open_store
from tests.fakes.samples import draft, review
from tests.fakes.wires import listening
from tests.store.conftest import Victim

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", f"redis://:{SECRET}@host:port/0", f"redis://h?db={SECRET}"])
def test_an_address_that_cannot_be_used_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="write redis://HOST:PORT/0") as refusal:
        connect(url, "tests")
    assert SECRET not in str(refusal.value)


async def test_a_server_behind_a_port_and_a_password_is_a_store_like_any_other(victim: Victim, tmp_path: Path) -> None:
    async with password(victim), listening(victim.socket) as port:
        url = f"redis://:{SECRET}@127.0.0.1:{port}/0"
        async with open_store(url, data=tmp_path, broker_id="broker 1\n") as store:
            request, _ = await store.requests.open("join", draft())
            with store.changes.watch(request.id) as watch, anyio.fail_after(5):
                await store.requests.update(request.id, review("fay"))
                assert await watch.wait(5)
        with pytest.raises(StoreUnavailable, match="AuthenticationError") as refusal:
            async with open_store(f"redis://:wrong-{SECRET}@127.0.0.1:{port}/0", data=tmp_path, broker_id="broker-2"):
                pass
        assert SECRET not in str(refusal.value)


@asynccontextmanager
async def password(server: Victim) -> AsyncIterator[None]:
    """Let the server ask for `SECRET`, for a while."""
    await once(server.url, "CONFIG", "SET", "requirepass", SECRET)
    yield
    await once(f"{server.url}?password={SECRET}", "CONFIG", "SET", "requirepass", "")


async def once(url: str, *command: str) -> None:
    commands = Commands(url, "tests", lambda _: None)
    commands.start()
    try:
        await commands.run(*command)
    finally:
        await commands.stop()


async def test_a_server_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with anyio.fail_after(1), pytest.raises(StoreUnavailable):
        async with open_store(f"unix://{tmp_path}/none.sock", data=tmp_path, broker_id="broker-1"):
            pass


async def test_a_server_that_is_too_old_is_refused(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak as much of a Redis 5 as is asked for before it is refused."""
        while line := await reader.readline():
            if line == b"SETNAME\r\n":
                writer.write(b"+OK\r\n")
            if line == b"INFO\r\n":
                writer.write(b"$23\r\nredis_version:5.0.14\r\n\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        over.set()

    over = anyio.Event()
    server = await asyncio.start_unix_server(answer, tmp_path / "old.sock")
    async with server:
        with anyio.fail_after(5), pytest.raises(ConfigInvalid, match=r"version 5\.0\.14"):
            async with open_store(f"unix://{tmp_path}/old.sock", data=tmp_path, broker_id="broker-1"):
                pass
        await over.wait()


async def test_a_store_of_another_format_is_refused(store: Store, raw: Commands, tmp_path: Path) -> None:
    await raw.run("HSET", keys.meta(), "format", "2")
    with pytest.raises(ConfigInvalid, match="another version of the broker"):
        async with open_store(store.url, data=tmp_path, broker_id="broker-2"):
            pass


async def test_scripts_that_the_server_forgot_are_sent_again(store: Store, raw: Commands) -> None:
    request, _ = await store.requests.open("join", draft())
    await raw.run("SCRIPT", "FLUSH")
    assert (await store.requests.update(request.id, review("fay"))).version == 2


async def test_an_error_of_one_command_does_not_put_the_others_out_of_step(raw: Commands) -> None:
    await raw.run("SET", "text", SECRET)
    results: list[object] = []

    async def bad() -> None:
        with pytest.raises(StoreUnavailable) as refusal:
            await raw.run_all(("GET", "text"), ("INCR", "text"), ("GET", "text"))
        results.append(str(refusal.value))

    async def good(number: int) -> None:
        results.append(await raw.run("ECHO", f"{number}") == f"{number}".encode())

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(good, number)
            tasks.start_soon(bad)
    assert {result for result in results if result is not True} == {"the store can't be used: ResponseError value"}


async def test_large_values_travel(raw: Commands) -> None:
    big = b"x" * (8 << 20)
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(raw.run, "SET", f"big-{number}", big)
    assert [len(await raw.run("GET", f"big-{number}")) for number in range(4)] == [len(big)] * 4
