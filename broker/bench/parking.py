"""The load of parked calls: opens them, lets a reviewer approve each, and sees how long the agent waits for the last byte.

    python -m broker.bench.parking < order.json > parked.json

The reviewer's POST and the agent's stream end in this process, so both are on one clock. Callers are real connections.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter
from urllib.parse import quote

import msgspec
import uvloop

from broker.bench.beside import paced
from broker.bench.load import quantile
from broker.bench.processes import memory_kib, more_files
from broker.bench.wire import Answer, Connection, connect, mcp_headers, message, request

ON_THEIR_WAY = 300
TIMED = 300
REVIEWERS = 16
PATIENCE = 60.0
TRIES = 20
PAUSE = 0.5
# What an agent reads whose call was not made since the store did not answer.
STORE_AWAY = b"can't reach its store"


class Order(msgspec.Struct, frozen=True):
    """`agent` and `person` are tokens; `pid` is the broker's process, whose memory is read.

    `beside` is for how many seconds allowed calls are made without parked ones, twice, and beside them.
    """

    port: int
    agent: str
    person: str
    count: int
    pid: int
    store_pids: tuple[int, ...] = ()
    beside: float = 2.0


class Parked(msgspec.Struct, frozen=True):
    """Times in ms, memory in KiB for each parked call: of the broker (its connection included) and of the store.

    `to_last_byte`: from the start of the reviewer's POST to the last byte of the agent's answer, one review at a time.
    `draining`: the seconds that all others took, reviewed by 16 at once. `refused` reviews and calls were told that the store
    does not answer, and repeated.
    `alone_p99` and `beside_p99` are of 100 allowed calls a second, without and beside the parked ones, which have progress.
    `error` is what ended the run.
    """

    count: int
    listed: int
    answered: int
    parking: float
    broker_kib: float
    store_kib: float
    post_p50: float
    to_last_byte_p50: float
    to_last_byte_p99: float
    draining: float
    refused: int = 0
    alone_p99: float = 0.0
    beside_p99: float = 0.0
    error: str = ""


class Summary(msgspec.Struct, frozen=True):
    """What the reviewer needs of one request in the API's list."""

    id: str
    digest: str


class Listed(msgspec.Struct, frozen=True):
    requests: list[Summary]
    cursor: str


class Callers:
    """Agents that wait, each on its own connection."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._where = f"127.0.0.1:{order.port}"
        self.port = order.port
        self.connections: list[Connection] = []
        self.refused = 0
        self._again: list[int] = []
        self._ended: asyncio.Queue[Answer | BaseException] = asyncio.Queue()

    async def open(self) -> None:
        """Open them, some hundred on their way at a time, and return when each is parked: when it hears something.

        A call that was not made since the store was busy is counted and made again, as agents are told to.
        """
        gate, numbers = asyncio.Semaphore(ON_THEIR_WAY), list(range(self._order.count))
        for turn in range(TRIES):
            await asyncio.sleep(PAUSE if turn else 0)
            for number in numbers:
                async with asyncio.timeout(PATIENCE):
                    await gate.acquire()
                await self._call(number, gate)
            async with asyncio.timeout(PATIENCE):
                for connection in self.connections:
                    await connection.heard
            await asyncio.sleep(0)  # who heard its whole answer was not parked: that is known a moment later
            numbers, self._again = self._again, []
            if not numbers:
                return

    async def _call(self, number: int, gate: asyncio.Semaphore) -> None:
        connection = await connect("127.0.0.1", self._order.port)
        connection.heard.add_done_callback(lambda _: gate.release())
        self.connections.append(connection)
        told = {"name": "guarded", "arguments": {"text": f"number {number}"}}
        body = message("tools/call", told, stateless=True, meta={"progressToken": number})
        headers = mcp_headers("tools/call", "guarded", self._order.agent)
        answer = connection.send(request("POST", self._where, "/mcp/bench", body, headers))
        answer.add_done_callback(lambda done: self._end(number, done.exception() or done.result()))

    def _end(self, number: int, answer: Answer | BaseException) -> None:
        if isinstance(answer, Answer) and STORE_AWAY in answer.body:
            self.refused += 1
            self._again.append(number)
        else:
            self._ended.put_nowait(answer)

    def turned_away(self) -> str:
        """Return what the first call was told that was answered before anybody decided; empty when all are parked."""
        return "" if self._ended.empty() else str(self._ended.get_nowait())[:400]

    async def next(self) -> Answer:
        """Return the next answer that comes to anybody. Raises what broke, or `ConnectionError` for an answer without effect."""
        async with asyncio.timeout(PATIENCE):
            answer = await self._ended.get()
        if isinstance(answer, BaseException):
            raise answer
        if b'"released"' not in answer.body:
            raise ConnectionError(f"an approved call was not released: {answer.body[-300:].decode('utf-8', 'replace')}")
        return answer

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


class Reviewers:
    """The other side: lists what is pending, and approves it with a person's token."""

    def __init__(self, order: Order) -> None:
        self._port = order.port
        self.refused = 0
        self._where = f"127.0.0.1:{order.port}"
        self._headers = {"authorization": f"Bearer {order.person}", "content-type": "application/json"}

    async def pending(self) -> list[Summary]:
        """Return every pending request, newest first."""
        connection, found, cursor = await connect("127.0.0.1", self._port), list[Summary](), ""
        while True:
            path = f"/api/v1/requests?limit=200&cursor={quote(cursor)}"
            answer = await connection.send(request("GET", self._where, path, b"", self._headers))
            page = msgspec.json.decode(_good(answer), type=Listed)
            found += page.requests
            cursor = page.cursor
            if not cursor:
                connection.close()
                return found

    async def approve(self, connection: Connection, one: Summary) -> Answer:
        """Approve one request. A 503 is counted and tried again, as a person would.

        After a 503 nobody knows whether the review was written: a 409 then says that the request was decided, by this one.
        """
        body = msgspec.json.encode({"verdict": "approve", "digest": one.digest})
        path = f"/api/v1/requests/{one.id}/reviews"
        for turn in range(TRIES):
            answer = await connection.send(request("POST", self._where, path, body, self._headers))
            if answer.status == 409 and turn:
                return answer
            if answer.status != 503:
                break
            self.refused += 1
            await asyncio.sleep(PAUSE)
        _good(answer)
        return answer

    async def approve_all(self, waiting: list[Summary]) -> None:
        """Approve by several people's connections at once."""

        async def some() -> None:
            connection = await connect("127.0.0.1", self._port)
            while waiting:
                await self.approve(connection, waiting.pop())
            connection.close()

        await asyncio.gather(*(some() for _ in range(REVIEWERS)))


def _good(answer: Answer) -> bytes:
    if answer.status != 200:
        raise ConnectionError(f"{answer.status}: {answer.body[:300].decode('utf-8', 'replace')}")
    return answer.body


class Times:
    """What the timed reviews took, in seconds."""

    def __init__(self) -> None:
        self.post: list[float] = []
        self.last_byte: list[float] = []

    async def take(self, callers: Callers, reviewers: Reviewers, waiting: list[Summary]) -> None:
        """Approve one request after the other; the next begins when the agent has its answer."""
        connection = await connect("127.0.0.1", callers.port)
        for _ in range(min(TIMED, len(waiting))):
            begin = perf_counter()
            posted = await reviewers.approve(connection, waiting.pop())
            answer = await callers.next()
            self.post.append(posted.last - begin)
            self.last_byte.append(answer.last - begin)
        connection.close()
        self.post.sort()
        self.last_byte.sort()


async def run(order: Order) -> Parked:
    """Park, review and answer all calls of the order."""
    more_files()
    callers, reviewers, times = Callers(order), Reviewers(order), Times()
    alone = await paced(order.port, order.agent, order.beside)
    before = _memory(order)
    begin = perf_counter()
    await callers.open()
    parking = perf_counter() - begin
    if told := callers.turned_away():
        raise ConnectionError(f"a call was not parked: {told}")
    broker, store = (after - idle for after, idle in zip(_memory(order), before, strict=True))
    beside = await paced(order.port, order.agent, order.beside)
    waiting = await reviewers.pending()
    listed = len(waiting)
    await times.take(callers, reviewers, waiting)
    answered = len(times.last_byte) + len(waiting)
    took = await _drained(callers, reviewers, waiting)
    callers.close()
    alone += await paced(order.port, order.agent, order.beside)
    return Parked(
        count=order.count,
        listed=listed,
        answered=answered,
        parking=parking,
        broker_kib=broker / order.count,
        store_kib=store / order.count,
        post_p50=quantile(times.post, 0.5) * 1e3,
        to_last_byte_p50=quantile(times.last_byte, 0.5) * 1e3,
        to_last_byte_p99=quantile(times.last_byte, 0.99) * 1e3,
        draining=took,
        refused=reviewers.refused + callers.refused,
        alone_p99=quantile(sorted(alone), 0.99) * 1e3,
        beside_p99=quantile(sorted(beside), 0.99) * 1e3,
    )


async def _drained(callers: Callers, reviewers: Reviewers, waiting: list[Summary]) -> float:
    """Have the rest reviewed, and return the seconds until all have their answers."""
    begin, rest = perf_counter(), len(waiting)
    draining = asyncio.create_task(reviewers.approve_all(waiting))
    for _ in range(rest):
        if draining.done():
            draining.result()  # a reviewer that failed is the reason, not the silence that follows
        await callers.next()
    await draining
    return perf_counter() - begin


def _memory(order: Order) -> tuple[int, int]:
    return memory_kib(order.pid), sum(memory_kib(pid) for pid in order.store_pids)


if __name__ == "__main__":
    parked = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(parked))
