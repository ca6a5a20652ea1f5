"""Connections that are kept: used again when that is safe, closed when it is not, and never asked twice for one message."""

from __future__ import annotations

import asyncio

import pytest

from broker import __version__
from broker.errors import OutcomeLost, UpstreamUntouched
from broker.upstream import pool
from broker.upstream.http import HttpServers
from tests.fakes.raw_server import BODY, GOOD, RawServer, asked, early, nothing, says


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """uvloop is what the broker runs on, asyncio what it falls back to."""
    return "asyncio", {"use_uvloop": request.param}


async def test_a_message_goes_out_whole_and_its_connection_is_used_again(servers: HttpServers, server: RawServer) -> None:
    assert [await asked(servers, accept="application/json"), await asked(servers)] == [b"{}", b"{}"]
    assert server.connections == [1, 1]
    first, *told = server.seen[0][1].decode().strip().split("\r\n")
    assert first == "POST /mcp HTTP/1.1"
    told.remove(f"user-agent: approval-broker/{__version__}")
    host = "host: " + server.url.split("/")[2]
    assert told == [host, "accept: application/json", "accept-encoding: identity", f"content-length: {len(BODY)}"]


async def test_a_body_in_an_encoding_that_nobody_asked_for_is_an_answer_in_doubt(servers: HttpServers, server: RawServer) -> None:
    server.does = [says(GOOD.replace(b"Content-Type", b"Content-Encoding: br\r\nContent-Type"))]
    with pytest.raises(OutcomeLost, match="encoding"):
        await asked(servers)
    assert len(server.seen) == 1


async def test_a_server_that_says_goodbye_is_asked_on_another_connection(servers: HttpServers, server: RawServer) -> None:
    server.does = [says(GOOD.replace(b"Content-Type", b"Connection: close\r\nContent-Type"))]
    assert [await asked(servers), await asked(servers)] == [b"{}", b"{}"]
    assert server.connections == [1, 2]


async def test_a_connection_that_closed_while_it_was_idle_is_not_used(servers: HttpServers, server: RawServer) -> None:
    server.does = [says(GOOD, ends=True)]
    assert await asked(servers) == b"{}"
    while server.seen and servers._pool._wires:  # noqa: ASYNC110 - no event tells when the closing has arrived
        await asyncio.sleep(0)
    assert await asked(servers) == b"{}"
    assert server.connections == [1, 2]


@pytest.mark.parametrize("unasked", [GOOD, b"junk", b"\r\n\r\nHTTP/1.1 200 OK\r\n"])
async def test_what_nobody_asked_for_is_nobodys_answer(servers: HttpServers, server: RawServer, unasked: bytes) -> None:
    """In the same bytes as an answer, and alone on an idle connection."""
    other = GOOD.replace(b"{}", b"[]")
    server.does = [says(other + unasked), says(other), says(GOOD)]
    assert await asked(servers) == b"[]"
    assert await asked(servers) == b"[]"
    server.streams[-1].write(unasked)
    while servers._pool._wires:  # noqa: ASYNC110 - no event tells when it has arrived
        await asyncio.sleep(0)
    assert await asked(servers) == b"{}"
    assert server.connections == [1, 2, 3]


async def test_a_server_that_answers_before_it_has_the_message_is_asked_on_another_connection(
    servers: HttpServers, server: RawServer
) -> None:
    server.does = [early]
    assert await asked(servers, b" " * (16 << 20)) == b"{}"
    assert await asked(servers) == b"{}"
    assert server.connections == [1, 2]


async def test_who_gives_up_closes_the_connection(servers: HttpServers, server: RawServer) -> None:
    server.does = [nothing]
    waiting = asyncio.ensure_future(asked(servers))
    while not server.seen:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0)
    waiting.cancel()
    await server.left.wait()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_idle_connections_are_closed_before_servers_close_them(
    servers: HttpServers, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "IDLE", 0.05)
    await asked(servers)
    await server.left.wait()
    assert await asked(servers) == b"{}"
    assert server.connections == [1, 2]


async def test_an_idle_connection_that_nobody_has_closed_yet_is_too_old(servers: HttpServers, server: RawServer) -> None:
    await asked(servers)
    [[wire]] = servers._pool._idle.values()
    wire.idle_since -= pool.IDLE
    await asked(servers)
    assert server.connections == [1, 2]


async def test_closing_ends_idle_connections_and_answers_under_way(servers: HttpServers, server: RawServer) -> None:
    server.does = [says(GOOD), nothing]
    await asked(servers)
    waiting = asyncio.ensure_future(asked(servers))
    while len(server.seen) < 2:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0)
    await servers.close()
    with pytest.raises(OutcomeLost):
        await waiting


async def test_messages_at_the_same_time_have_a_connection_each(servers: HttpServers, server: RawServer) -> None:
    assert await asyncio.gather(*(asked(servers) for _ in range(20))) == [b"{}"] * 20
    assert sorted(server.connections) == list(range(1, 21))


async def test_a_port_where_nobody_listens_is_told_as_untouched(servers: HttpServers, server: RawServer) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{taken.sockets[0].getsockname()[1]}/mcp"
    taken.close()
    with pytest.raises(UpstreamUntouched, match=r"can't be reached \(ConnectionRefusedError\)"):
        await asked(servers)
