"""The bridge: a client of either era in front of an HTTP server of either era gets what the server says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from broker.domain.requests import Origin
from broker.domain.servers import Server
from broker.upstream.stdio import StdioForwarder
from broker.upstream.ways import Ways
from tests.fakes.bridge_bench import BridgeBench, bridge_bench
from tests.fakes.everything import answer_ann, everything
from tests.fakes.serving import running
from tests.fakes.stdio_bench import approved, lines, text_of

BOTH = "application/json, text/event-stream"
SERVERS = ("both", "older", "newer")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def effects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("effects")


@pytest.fixture(scope="module")
def urls(effects: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as servers:
        yield {
            speaks: servers.enter_context(running("tests.fakes.era_server", speaks, str(effects / speaks))) for speaks in SERVERS
        }


@pytest.fixture(scope="module")
async def bench(urls: dict[str, str]) -> AsyncIterator[BridgeBench]:
    async with bridge_bench(urls) as ready:
        yield ready


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("server", SERVERS)
async def test_lists_and_results_are_what_the_server_says_directly(bench: BridgeBench, server: str, mode: str) -> None:
    direct_mode = "auto" if server == "newer" else mode
    async with bench.direct(server, direct_mode) as direct, bench.client(server, mode) as client:
        assert await everything(client) == await everything(direct)
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("server", SERVERS)
async def test_progress_comes_back_under_the_callers_own_token(bench: BridgeBench, server: str, mode: str) -> None:
    told: list[float] = []

    async def progress(value: float, total: float | None, message: str | None) -> None:
        told.append(value)

    async with bench.client(server, mode) as client:
        await client.call_tool("steps", {"n": 4}, progress_callback=progress)
    assert told == [1, 2, 3, 4]


@pytest.mark.parametrize(("server", "mode"), [("both", "auto"), ("newer", "auto"), ("newer", "legacy")])
async def test_a_newer_server_asks_a_client_of_either_era(bench: BridgeBench, server: str, mode: str) -> None:
    async with bench.client(server, mode, elicitation_callback=answer_ann) as client:
        assert text_of(await client.call_tool("round", {"text": "who?"})) == "accept: ann"


@pytest.mark.parametrize(("server", "mode"), [("both", "legacy"), ("older", "legacy")])
async def test_an_older_server_asks_an_older_client_in_the_middle_of_its_call(bench: BridgeBench, server: str, mode: str) -> None:
    async with bench.client(server, mode, elicitation_callback=answer_ann) as client:
        assert text_of(await client.call_tool("ask", {"text": "who?"})) == "accept: ann"


@pytest.mark.parametrize("server", ["both", "older"])
async def test_changes_reach_a_newer_client_that_listens(bench: BridgeBench, server: str) -> None:
    async with bench.client(server) as client, client.listen(tools_list_changed=True) as changes:
        with anyio.fail_after(15):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_keep_changing, client)
                assert type(await anext(aiter(changes))).__name__ == "ToolsListChanged"
                tasks.cancel_scope.cancel()


async def _keep_changing(client: Any) -> None:
    """The older server's own stream opens a moment after the first one listens: what it said before is lost."""
    while True:
        await client.call_tool("change", {})
        await anyio.sleep(0.1)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("server", SERVERS)
async def test_a_call_that_its_client_gives_up_is_cancelled_at_the_server(
    bench: BridgeBench, effects: Path, server: str, mode: str
) -> None:
    mark = f"{server} {mode}"
    with anyio.fail_after(10):
        async with bench.client(server, mode) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "hang", {"text": mark})
                await lines(effects / server, f"hangs {mark}")
                tasks.cancel_scope.cancel()
            await lines(effects / server, f"cancelled {mark}")


@pytest.mark.parametrize(
    ("server", "origin"),
    [
        ("both", Origin(era="2026-07-28", rpc_id=7)),
        ("older", Origin(era="2026-07-28", rpc_id=7)),
        ("newer", Origin(era="2026-07-28", rpc_id=7)),
    ],
)
async def test_a_release_for_a_newer_caller_runs_once_in_whatever_era(
    bench: BridgeBench, effects: Path, server: str, origin: Origin
) -> None:
    relayed: list[bytes] = []
    request = approved(server, "effect", {"text": f"released {server}"}, origin)
    answer = msgspec.json.decode(await bench.bridge.execute(request, relayed.append))
    assert text_of(answer) == f"released {server}"
    assert (await lines(effects / server)).count(f"released {server}") == 1
    asked = await bench.bridge.execute(approved(server, "steps", {"n": 2}, origin), relayed.append)
    assert "error" not in msgspec.json.decode(asked)
    assert [msgspec.json.decode(message)["params"]["progress"] for message in relayed] == [1, 2]


async def test_a_release_for_an_older_caller_of_a_newer_server_asks_nobody(bench: BridgeBench) -> None:
    capable = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "old"}}
    hello = msgspec.json.encode({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": capable})
    session = (await bench.bridge.forward("newer", "POST", {"accept": BOTH, "content-type": "application/json"}, hello)).session
    origin = Origin(era="2025-11-25", session=session, rpc_id=7)
    done = msgspec.json.decode(await bench.bridge.execute(approved("newer", "echo", {"text": "hi"}, origin), _unheard))
    assert done == {"result": {"content": [{"type": "text", "text": "hi"}], "isError": False}}
    asks = msgspec.json.decode(await bench.bridge.execute(approved("newer", "round", {"text": "?"}, origin), _unheard))
    assert "instead of a result" in asks["error"]["message"]


@pytest.mark.parametrize(("may", "asks"), [(True, True), (False, False)])
async def test_only_a_server_that_may_ask_by_now_hears_what_the_caller_can_be_asked(
    bench: BridgeBench, may: bool, asks: bool
) -> None:
    server = Server(name="newer", url=bench.urls["newer"], asks_back=may)
    catalogue = {"newer": server}.get
    ways = Ways(catalogue, bench.bridge, StdioForwarder(catalogue, silence=timedelta(seconds=20)))
    origin = Origin(era="2026-07-28", rpc_id=7, capabilities={"elicitation": {"form": {}}})
    answer = msgspec.json.decode(await ways.execute(approved("newer", "round", {"text": "?"}, origin), _unheard))
    assert (answer.get("result", {}).get("resultType") == "input_required") == asks
    assert ("error" in answer) == (not asks)


def _unheard(message: bytes) -> None:
    """Nobody is there."""
