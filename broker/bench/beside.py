"""Allowed calls at a steady pace, whatever else the broker has to do: what do those who wait cost those who don't?"""

from __future__ import annotations

import asyncio
from time import perf_counter

from broker.bench.wire import Answer, Connection, connect, mcp_headers, message, request

# Calls a second, and the connections that they share.
RATE = 100
CONNECTIONS = 16


async def paced(port: int, token: str, seconds: float) -> list[float]:
    """Make allowed calls for so long; return how many seconds each took, from when it was due to its last byte.

    Raises `ConnectionError` for a call that has no result.
    """
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await connect("127.0.0.1", port))
    body = message("tools/call", {"name": "echo", "arguments": {"text": "beside"}}, stateless=True)
    sent = request("POST", f"127.0.0.1:{port}", "/mcp/bench", body, mcp_headers("tools/call", "echo", token))

    async def one(due: float) -> float:
        connection = await free.get()
        answer = _good(await connection.send(sent))
        free.put_nowait(connection)
        return answer.last - due

    calls, begin = [], perf_counter()
    for number in range(round(RATE * seconds)):
        due = begin + number / RATE
        await asyncio.sleep(max(0.0, due - perf_counter()))
        calls.append(asyncio.create_task(one(due)))
    took = await asyncio.gather(*calls)
    while not free.empty():
        free.get_nowait().close()
    return took


def _good(answer: Answer) -> Answer:
    if answer.status != 200 or b'"isError":true' in answer.body:
        raise ConnectionError(f"{answer.status}: {answer.body[:300].decode('utf-8', 'replace')}")
    return answer
