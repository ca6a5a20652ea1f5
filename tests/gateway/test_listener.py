"""The bound of heads, tried on a socket: whatever leads nowhere is cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.gateway.listener import bounded
from tests.gateway.rig import serving

LIMIT = 32 << 10


async def echo(scope: object, receive: object, send: object) -> None:
    """Answer with the number of bytes in the body."""
    size = 0
    while True:
        message = await receive()  # type: ignore[operator]
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": body})  # type: ignore[operator]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(echo) as url:
        yield int(url.rpartition(":")[2])


async def sent(port: int, parts: Iterator[bytes] | list[bytes], most: int = 64 << 20) -> tuple[int, bytes]:
    """Send until all is sent or the other side hangs up; return how much was taken, and all that was answered."""
    taken, answer = 0, b""
    with anyio.fail_after(20):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            try:
                for part in parts:
                    await stream.send(part)
                    taken += len(part)
                    assert taken < most
                while chunk := await stream.receive():
                    answer += chunk
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                pass
    return taken, answer


def endless(head: bytes, part: bytes) -> Iterator[bytes]:
    yield head
    for _ in range(2_000):
        yield part


HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"
ENDLESS = {
    "one header line": (HEAD + b"x-big: ", b"a" * 65_536),
    "many headers": (HEAD, b"x-many: aaaaaaaaaaaaaaaa\r\n" * 2_000),
    "the target": (b"GET /", b"a" * 65_536),
    "the extension of a chunk": (HEAD + b"transfer-encoding: chunked\r\n\r\n5;x=", b"a" * 65_536),
    "trailers": (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"x-many: aaaaaaaaaaaaaaaa\r\n" * 2_000),
    "one trailer": (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ", b"a" * 65_536),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_never_ends_is_cut_off_long_before_it_hurts(port: int, name: str) -> None:
    taken, answer = await sent(port, endless(*ENDLESS[name]))
    # What is taken beyond the limit lies in socket buffers: no process holds it.
    assert taken < 16 << 20
    assert answer == b"" or b" 431 " in answer or b" 400 " in answer, answer


@pytest.mark.parametrize(("size", "status"), [(LIMIT - 100, b"200"), (LIMIT + 100, b"431")])
async def test_the_limit_is_where_it_is_set_however_the_head_is_cut(port: int, size: int, status: bytes) -> None:
    head = HEAD + b"content-length: 2\r\nconnection: close\r\n"
    head += b"x: " + b"a" * (size - len(head) - 7) + b"\r\n\r\n"
    assert len(head) == size
    for cut in (size + 2, 1_000, 16_384):
        whole = head + b"hi"
        _, answer = await sent(port, [whole[at : at + cut] for at in range(0, len(whole), cut)])
        assert answer.split(b" ")[1] == status, (cut, answer[:200])


async def test_a_large_body_behind_a_small_head_passes(port: int) -> None:
    size = 3 << 20
    _, answer = await sent(port, [HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % size + b"a" * size])
    assert answer.endswith(b"%d" % size)
    chunked = b"".join(b"4000\r\n" + b"a" * 0x4000 + b"\r\n" for _ in range(100)) + b"0\r\n\r\n"
    _, answer = await sent(port, [HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunked])
    assert answer.endswith(b"%d" % (100 * 0x4000))


async def test_many_requests_on_one_connection_are_not_added_up(port: int) -> None:
    one = HEAD + b"content-length: 2\r\nx: " + b"a" * 10_000 + b"\r\n\r\nhi"
    last = one.replace(b"host: a", b"host: a\r\nconnection: close")
    _, answer = await sent(port, [one] * 20 + [last])
    assert answer.count(b" 200 ") == 21


async def test_a_head_that_does_not_arrive_in_time_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.gateway.listener.HEAD_WITHIN", 0.2)
    for slow in (b"", b"POST / HT", HEAD):
        assert (await sent(port, [slow] if slow else []))[1] == b""


async def played(scope: Any, receive: Any, send: Any) -> None:
    """Do what the path says: the parts of a body of 6 bytes, with its length, and whether it ends or breaks."""
    length, *parts = scope["path"].strip("/").split("/")
    await receive()
    told = [(b"content-length", length.encode())] if length != "-" else []
    await send({"type": "http.response.start", "status": 200, "headers": told})
    for number, part in enumerate(parts, 1):
        if part == "fail":
            raise ValueError("as the test wants it")
        await send({"type": "http.response.body", "body": part.encode(), "more_body": number < len(parts)})


@pytest.fixture
async def player() -> AsyncIterator[int]:
    async with serving(played) as url:
        yield int(url.rpartition(":")[2])


GET = "GET {} HTTP/1.1\r\nhost: a\r\n{}\r\n"


@pytest.mark.parametrize(
    ("path", "more", "ends"),
    [
        ("/6/foobar", "connection: close\r\n", "\r\n\r\nfoobar"),
        ("/6/foo/bar", "", "\r\n\r\nfoobar"),
        ("/-/foo/bar", "", "\r\n\r\n3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n"),
        ("/3/foo/fail", "", "\r\n\r\nfoo"),
        ("/6/fail", "", "\r\n\r\nInternal Server Error"),
    ],
)
async def test_an_answer_is_the_same_however_the_app_sends_it(player: int, path: str, more: str, ends: str) -> None:
    last = GET.format("/3/end", "connection: close\r\n")
    _, answer = await sent(player, [(GET.format(path, more) + ("" if more else last)).encode()])
    first = (
        answer.decode().removesuffix("\r\n\r\nend").rpartition("HTTP/1.1 200 OK")[0] if not more and "fail" not in path else ""
    )
    assert (first or answer.decode()).endswith(ends)


@pytest.mark.parametrize("status", [200, 404, 418, 299, 503])
async def test_an_answer_reads_as_uvicorn_itself_writes_it(status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        told = [(b"content-type", b"text/plain"), (b"x-told", b"1"), (b"x-told", b"2"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": b"hi"})

    answers = []
    for protocol in (bounded(LIMIT), HttpToolsProtocol):
        async with serving(app, protocol) as url:
            _, answer = await sent(
                int(url.rpartition(":")[2]), [(GET.format("/", "") + GET.format("/", "connection: close\r\n")).encode()]
            )
            answers.append([line for line in answer.split(b"\r\n") if not line.startswith(b"date: ")])
    assert answers[0] == answers[1]
    assert answers[0].count(b"x-told: 2") == 2


async def test_a_header_that_would_be_two_is_not_sent() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        told = [(b"x-told", b"a\r\nx-smuggled: b"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": told})
        await send({"type": "http.response.body", "body": b"hi"})

    async with serving(app) as url:
        _, answer = await sent(int(url.rpartition(":")[2]), [GET.format("/", "").encode()])
    assert answer == b""


async def test_an_answer_leaves_in_one_piece_and_the_next_one_after_it(player: int) -> None:
    with anyio.fail_after(20):
        async with await anyio.connect_tcp("127.0.0.1", player) as stream:
            for body in ("foo", "bar"):
                await stream.send(GET.format(f"/3/{body}", "").encode())
                assert (await stream.receive()).endswith(b"\r\n\r\n" + body.encode())


@pytest.mark.parametrize("path", ["/9/foo", "/3/foobar"])
async def test_an_answer_that_is_not_as_long_as_it_said_ends_the_connection(player: int, path: str) -> None:
    _, answer = await sent(player, [(GET.format(path, "") + GET.format("/3/end", "")).encode()])
    assert b"end" not in answer


async def test_an_answer_that_was_begun_arrives_whole_though_the_broker_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stopping, shutdown = anyio.Event(), anyio.Event(), HttpToolsProtocol.shutdown

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        begun.set()
        await stopping.wait()
        await send({"type": "http.response.body", "body": b"foo"})

    def told(protocol: HttpToolsProtocol) -> None:
        shutdown(protocol)
        stopping.set()

    monkeypatch.setattr(HttpToolsProtocol, "shutdown", told)
    with anyio.fail_after(20):
        async with serving(late) as url:
            stream = await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2]))
            await stream.send(GET.format("/", "").encode())
            await begun.wait()
        async with stream:
            assert (await stream.receive()).endswith(b"connection: close\r\n\r\nfoo")
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
