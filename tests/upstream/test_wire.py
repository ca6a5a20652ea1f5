"""HTTP/1.1 as hostile servers speak it: an answer is whole and of this call, or in doubt; and nothing is ever sent twice."""

from __future__ import annotations

import asyncio

import pytest

from broker.errors import OutcomeLost, UpstreamUntouched
from broker.upstream.http import HttpServers
from tests.fakes.raw_server import BODY, GOOD, RawServer, asked, nothing, says

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """uvloop is what the broker runs on, asyncio what it falls back to."""
    return "asyncio", {"use_uvloop": request.param}


STRANGE = {
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no status": b"HTTP/1.1 000 Nothing\r\nContent-Length: 2\r\n\r\n{}",
    "a length beside chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks beside a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a length said twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
    "another transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    "two transfer codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a size that is none": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a size beyond all numbers": CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
    "lines without CR": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}",
    "a header without an end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * (1 << 20),
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"Content-Length: 2\r\n\r\n{}",
    "interim answers without an end": b"HTTP/1.1 102 Processing\r\n\r\n" * 20_000,
    "trailers without an end": CHUNKED + b"0\r\nX: " + b"a" * (1 << 20),
    "an extension without an end": CHUNKED + b"2;" + b"a" * (1 << 20),
}


@pytest.mark.parametrize("said", STRANGE.values(), ids=STRANGE)
async def test_what_is_not_plainly_http_is_an_answer_in_doubt(servers: HttpServers, server: RawServer, said: bytes) -> None:
    server.does = [says(said)]
    with pytest.raises(OutcomeLost):
        await asked(servers)
    assert await asked(servers) == b"{}"
    assert server.connections == [1, 2]  # once each, and never again on a connection that was not understood


HALF = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 20",
    "half a head": GOOD[:40],
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "half a body": GOOD[:-1],
    "no last chunk": CHUNKED + b"2\r\n{}\r\n",
    "half a chunk": CHUNKED + b"20\r\n{",
    "no end of the trailers": CHUNKED + b"2\r\n{}\r\n0\r\n",
}


@pytest.mark.parametrize("said", HALF.values(), ids=HALF)
async def test_half_an_answer_is_none_and_is_not_asked_for_again(servers: HttpServers, server: RawServer, said: bytes) -> None:
    server.does = [says(GOOD), says(said, ends=True)]
    assert await asked(servers) == b"{}"
    with pytest.raises(OutcomeLost):
        await asked(servers)
    assert server.connections == [1, 1]


WHOLE = {
    "with a length": GOOD,
    "in chunks": CHUNKED + b"1;a=b\r\n{\r\n1\r\n}\r\n0\r\nContent-Type: text/html\r\n\r\n",
    "after interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nAllow: x\r\n\r\n" + GOOD,
}


@pytest.mark.parametrize("said", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_an_answer_is_the_same_however_slowly_it_comes(
    servers: HttpServers, server: RawServer, said: bytes, size: int
) -> None:  # fmt: skip
    parts = [said[at : at + size] for at in range(0, len(said), size)]
    server.does = [says(*parts), says(*parts)]
    answer = await servers.forward("s", "POST", {}, BODY)
    assert (answer.status, await answer.read(), answer.allow) == (200, b"{}", "")
    assert await asked(servers) == b"{}"
    assert server.connections == [1, 1]


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
async def test_an_answer_without_a_length_ends_with_its_connection(servers: HttpServers, server: RawServer, head: bytes) -> None:
    server.does = [says(head, b"{", b"}", ends=True)]
    assert [await asked(servers), await asked(servers)] == [b"{}", b"{}"]
    assert server.connections == [1, 2]


async def test_a_server_may_be_silent_for_only_so_long(servers: HttpServers, server: RawServer) -> None:
    server.does = [nothing, says(GOOD[:-1])]
    for _ in range(2):
        with pytest.raises(OutcomeLost, match="silent for too long"):
            await asked(servers)
    assert server.connections == [1, 2]


async def test_a_patient_message_waits_as_long_as_it_takes(servers: HttpServers, server: RawServer) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)  # longer than the silence that is allowed otherwise
        writer.write(GOOD)

    server.does = [says(GOOD), late]
    await asked(servers)
    answer = await servers.forward("s", "POST", {}, BODY, patient=True)
    assert await answer.read() == b"{}"


async def test_a_reader_who_is_slow_holds_the_server_back_and_is_no_silence(servers: HttpServers, server: RawServer) -> None:
    size, sent = 64 << 20, asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            writer.write(b" " * (1 << 20))
            await writer.drain()
        sent.set()

    server.does = [flood]
    answer = await servers.forward("s", "POST", {}, BODY)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sent.wait(), 0.5)  # longer than a server may be silent
    assert sum([len(part) async for part in answer.chunks()]) == size
    assert await asked(servers) == b"{}"
    assert server.connections == [1, 1]


async def test_who_stops_reading_closes_the_connection(servers: HttpServers, server: RawServer) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\n{}\r\n")
        await nothing(reader, writer)

    server.does = [drip]
    answer = await servers.forward("s", "POST", {}, BODY)
    assert [await anext(aiter(answer.chunks()))] == [b"{}"]
    answer.close()
    answer.close()
    await server.left.wait()


INJECTED = ("a\r\nx-user: admin", "a\nx: y", "a\rx: y", "a\0", "\ud800")


@pytest.mark.parametrize(
    "headers",
    [
        *({"mcp-name": value} for value in INJECTED),
        {"transfer-encoding": "chunked"},
        {"expect": "100-continue"},
        {"upgrade": "h2c"},
    ],
    ids=str,
)
async def test_a_header_that_would_be_two_or_frame_the_message_otherwise_is_not_sent(
    servers: HttpServers, server: RawServer, headers: dict[str, str]
) -> None:  # fmt: skip
    with pytest.raises(UpstreamUntouched, match="can't be sent"):
        await servers.forward("s", "POST", headers, BODY)
    assert server.streams == []


@pytest.mark.parametrize("path", ["/a b", "/mcp HTTP/1.1\x0bx: y", "/m\x00cp", "/mcp?name=M\u00fcller", "/\u2028mcp"], ids=ascii)
async def test_an_address_that_would_be_another_first_line_is_not_asked(
    servers: HttpServers, server: RawServer, path: str
) -> None:  # fmt: skip
    server.url = server.url.removesuffix("/mcp") + path
    with pytest.raises(UpstreamUntouched, match="can't be sent"):
        await servers.forward("s", "POST", {}, BODY)
    assert server.streams == []
