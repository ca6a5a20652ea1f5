"""A server that changes, breaks or lies between the review of a call and its release: each time one clear outcome, at most one
call, and no other call is touched.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest

from broker.domain.requests import ApprovalRequest
from tests.conftest import empty
from tests.fakes.scripted import Does, Reply, Seen, Upstream, answer, said, usual
from tests.fakes.wired import Wired, wired
from tests.gateway.rig import serving
from tests.gateway.wire import call, events, post

SERVERS = """servers:
  tools: {url: '%s', tools: {echo: {}, park_me: {}, beside: {}}}
  mortal: {url: '%s', tools: {park_me: {}}}
"""
RULES = """
defaults: {approval: {all_of: [{group: finance}], timeout: 15m}, unmatched: deny}
rules:
  - {id: free, match: {tool: echo}, effect: allow}
  - {id: asked, title: "Park {args.what}", match: {tool: [park_me, beside]}, effect: require_approval}
"""


class Row(NamedTuple):
    """What the server does then, what the agent reads, and how many calls reached the server."""

    method: str
    does: Does
    code: str
    text: str
    calls: int


def tools(*names: str, **schemas: dict[str, Any]) -> Does:
    """Lists tools that take anything, and some that don't."""
    told = {name: schemas.get(name, {}) for name in (*names, *schemas)}
    page = {"tools": [{"name": name, "inputSchema": {"type": "object", **schema}} for name, schema in told.items()]}

    async def listed(seen: Seen, reply: Reply) -> None:
        await reply.json(answer(seen, {**page, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}))

    return listed


async def silent(seen: Seen, reply: Reply) -> None:
    await reply.left()


async def half_an_event(seen: Seen, reply: Reply) -> None:
    await reply.stream()
    await reply.part(b'data: {"jsonrpc": "2.0", "id"')
    await reply.end()


async def large(seen: Seen, reply: Reply) -> None:
    await reply.json(answer(seen, said("x" * 10_000_000)))


async def no_json(seen: Seen, reply: Reply) -> None:
    await reply.raw(200, b'{"jsonrpc":', content_type="application/json")


async def anothers(seen: Seen, reply: Reply) -> None:
    await reply.json({"jsonrpc": "2.0", "id": "another", "result": said("not yours")})


async def redirects(seen: Seen, reply: Reply) -> None:
    await reply.raw(307, location="http://127.0.0.1:1/mcp")


async def asks_back(seen: Seen, reply: Reply) -> None:
    await reply.json(answer(seen, {"resultType": "input_required", "inputRequests": {}, "requestState": "theirs"}))


AS_REVIEWED = tools("echo", "beside", "park_me")
AWAY = "The call failed. Reason: the server could not be reached, nothing was sent"
ASKED_BACK = "the server answered the approved call with `input_required` instead of a result: it was not finished"
CHANGED = "The tool changed after the call was sent for approval; it was not made."
UNKNOWN = "The call was approved and started, but its result is unknown. Do not repeat it: it may have run."
ROWS = {
    "its tool has another name": Row("tools/list", tools("echo", "beside", "parked_me"), "voided", CHANGED, 0),
    "its tool has another schema": Row("tools/list", tools("echo", "beside", park_me={"required": ["to"]}), "voided", CHANGED, 0),
    "it says nothing for too long": Row("tools/call", silent, "unknown", UNKNOWN, 1),
    "it ends in the middle of an event": Row("tools/call", half_an_event, "unknown", UNKNOWN, 1),
    "its result has ten megabytes": Row("tools/call", large, "released", "x" * 100, 1),
    "it answers with half a JSON": Row("tools/call", no_json, "unknown", UNKNOWN, 1),
    "it answers another request": Row("tools/call", anothers, "unknown", UNKNOWN, 1),
    "it redirects": Row("tools/call", redirects, "failed", "The call failed. Reason: ", 1),
    "it asks back": Row("tools/call", asks_back, "-32603", ASKED_BACK, 1),
}


class Bench(NamedTuple):
    here: Wired
    mortal: Upstream
    dying: anyio.Event
    died: anyio.Event


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def bench(embedded_store: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    await empty(embedded_store)
    server, mortal, dying, died = Upstream(), Upstream(), anyio.Event(), anyio.Event()
    home = tmp_path_factory.mktemp("home")

    async def living(*, task_status: Any) -> None:
        async with serving(mortal) as mortal.url:
            task_status.started()
            await dying.wait()
        died.set()

    async with anyio.create_task_group() as tasks, serving(server) as server.url:
        await tasks.start(living)
        server.on["tools/list"] = AS_REVIEWED
        servers = SERVERS % (server.url, mortal.url)
        async with wired(embedded_store, home, rules=RULES, servers=servers, upstream_timeout="1s") as here:
            here.upstream = server
            yield Bench(here, mortal, dying, died)
        dying.set()


@pytest.fixture
def here(bench: Bench) -> Wired:
    bench.here.upstream.on = {"tools/list": AS_REVIEWED}
    bench.here.upstream.seen.clear()
    return bench.here


def answer_of(response: httpx2.Response) -> dict[str, Any]:
    streamed = "event-stream" in response.headers["content-type"]
    return dict(events(response.text)[-1] if streamed else response.json())


class Calling:
    """A call that is parked while `run` does; `told` is what the agent reads in the end."""

    def __init__(self, here: Wired, server: str, what: str, tool: str = "park_me") -> None:
        self._here = here
        self._tool = tool
        self._server = server
        self._what = what
        self.told = ("", "")

    async def run(self) -> None:
        head = {"authorization": f"Bearer {self._here.agent}"}
        url = f"{self._here.run.url}/mcp/{self._server}"
        answer = answer_of(await post(self._here.http, url, call(self._tool, {"what": self._what}), **head))
        if "error" in answer:
            self.told = (str(answer["error"]["code"]), answer["error"]["message"])
        else:
            result = answer["result"]
            self.told = (result["_meta"]["approval-broker/code"], result["content"][0]["text"])

    async def asked(self, count: int) -> ApprovalRequest:
        found = await self._here.asked(count)
        [request] = [one for one in found if one.call.arguments == {"what": self._what}]
        return request


def only_for(what: str, row: Row) -> Does:
    """Do it in answer to one call, or to any other message of its kind."""

    async def does(seen: Seen, reply: Reply) -> None:
        assert seen.message is not None
        concerned = seen.method != "tools/call" or seen.message["params"]["arguments"] == {"what": what}
        await (row.does if concerned else usual)(seen, reply)

    return does


@pytest.mark.parametrize("name", ROWS)
async def test_one_clear_outcome_and_no_other_call_is_touched(here: Wired, name: str) -> None:
    row, upstream = ROWS[name], here.upstream
    mutated, bystander = Calling(here, "tools", name), Calling(here, "tools", f"beside: {name}", "beside")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as first:
                first.start_soon(mutated.run)
                tasks.start_soon(bystander.run)
                reviewed, other = await mutated.asked(2), await bystander.asked(2)
                upstream.on[row.method] = only_for(name, row)
                await here.review(reviewed)
                assert answer_of(await here.call("echo", {"a": 1}))["result"]["content"] == said('{"a": 1}')["content"]
            upstream.on = {"tools/list": AS_REVIEWED}
            await here.review(other)
    code, text = mutated.told
    assert (code, text[: len(row.text)]) == (row.code, row.text)
    assert bystander.told == ("released", json.dumps({"what": f"beside: {name}"}))
    sent = [seen.message["params"]["arguments"] for seen in upstream.of("tools/call") if seen.message is not None]
    assert sent.count({"what": name}) == row.calls
    assert sent.count({"what": f"beside: {name}"}) == 1


async def test_a_server_that_is_gone_was_not_called(here: Wired, bench: Bench) -> None:
    lost, bystander = Calling(here, "mortal", "lost"), Calling(here, "tools", "beside", "beside")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lost.run)
            tasks.start_soon(bystander.run)
            reviewed, other = await lost.asked(2), await bystander.asked(2)
            bench.dying.set()
            await bench.died.wait()
            await here.review(reviewed)
            await here.review(other)
    code, text = lost.told
    assert (code, text[: len(AWAY)]) == ("failed", AWAY)
    assert bystander.told == ("released", json.dumps({"what": "beside"}))
    assert bench.mortal.of("tools/call") == []
