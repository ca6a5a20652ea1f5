"""What pages cost: asked for one after the other over one connection, by somebody who is signed in.

python -m broker.bench.pages < order.json > pages.json
"""

from __future__ import annotations

import sys
from time import perf_counter
from urllib.parse import urlencode

import msgspec
import uvloop

from broker.bench.load import cpu_seconds, quantile
from broker.bench.wire import Connection, connect, request

WARM, TIMED = 10, 200


class Order(msgspec.Struct, frozen=True):
    """`link` is the code of a sign-in link; `paths` are asked for in this order, `timed` times each. `pid` is the broker's."""

    port: int
    pid: int
    link: str
    paths: tuple[str, ...]
    timed: int = TIMED


class Cost(msgspec.Struct, frozen=True):
    """Times in ms, from the request's first byte out to the answer's last byte in; `cpu` is what the broker worked for each.

    On a busy machine the times are those of the others as well. `kib` is the size of the answer.
    """

    path: str
    p50: float
    p95: float
    cpu: float
    kib: float


async def run(order: Order) -> list[Cost]:
    connection = await connect("127.0.0.1", order.port)
    headers = {"cookie": await signed_in(connection, order.port, order.link)}
    costs = [await _cost(connection, order, path, headers) for path in order.paths]
    connection.close()
    return costs


async def signed_in(connection: Connection, port: int, link: str) -> str:
    """Use the link up; return the session's cookie."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = urlencode({"code": link}).encode()
    answer = await connection.send(request("POST", f"127.0.0.1:{port}", "/sign-in", body, form))
    if answer.status != 303:
        raise ConnectionError(f"the sign-in was answered by {answer.status}")
    return answer.headers["set-cookie"].partition(";")[0]


async def _cost(connection: Connection, order: Order, path: str, headers: dict[str, str]) -> Cost:
    took, size, spent = [], 0, 0.0
    for number in range(WARM + order.timed):
        if number == WARM:
            spent = cpu_seconds((order.pid,))
        begin = perf_counter()
        answer = await connection.send(request("GET", f"127.0.0.1:{order.port}", path, b"", headers))
        if answer.status != 200:
            raise ConnectionError(f"{path} was answered by {answer.status}")
        if number >= WARM:
            took.append(answer.last - begin)
        size = len(answer.body)
    took.sort()
    worked = (cpu_seconds((order.pid,)) - spent) / order.timed
    return Cost(path, quantile(took, 0.5) * 1e3, quantile(took, 0.95) * 1e3, worked * 1e3, size / 1024)


if __name__ == "__main__":
    costs = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(costs))
