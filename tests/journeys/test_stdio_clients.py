"""`broker stdio`: a client that only speaks stdio, in front of a real broker, in both eras."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.fakes.everything import answer_ann, everything
from tests.fakes.serving import running
from tests.fakes.stdio_bench import ROOT, lines, text_of
from tests.fakes.stdio_tools import TOOLS_DO
from tests.journeys.brokers import REVIEWERS, Broker, Place, place
from tests.journeys.people import Person

WAIT = "approval_wait"
RULES = """
defaults: {unmatched: deny, unknown_tool: deny, approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules:
  - {id: effects, title: "{args.text}", match: {tool: effect}, effect: require_approval}
  - {id: rest, match: {server: "*", not_tool: effect}, effect: allow}
"""


class Bench:
    """A place with servers of both kinds, one broker, the tokens of an agent and of a reviewer."""

    def __init__(self, here: Place, broker: Broker, token: str, person: str, effects: Path) -> None:
        self.here = here
        self.broker = broker
        self.token = token
        self.person = person
        self.effects = effects

    def shim(self, server: str, mode: str, token: str = "", **more: Any) -> Client:
        """A client whose only way is a pipe."""
        env = {"BROKER_URL": self.broker.url, "BROKER_TOKEN": token or self.token}
        command = ["-m", "broker", "stdio", *filter(None, [server])]
        parameters = StdioServerParameters(command=sys.executable, args=command, env=env, cwd=ROOT)
        return Client(parameters, mode=mode, **more)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="j"))
    effects = folder / "effects"
    command = [sys.executable, "-m", "tests.fakes.stdio_tools"]
    with ExitStack() as open_:
        open_.callback(shutil.rmtree, folder)
        here = open_.enter_context(place(folder, hold="PT20S"))
        known = {"tools": {name: {"destructive": name == "effect"} for name in TOOLS_DO}}
        piped = {"cwd": ROOT, **known}
        here.write("servers", {"servers": {
            "older": {"command": [*command, "older", str(effects)], **piped},
            "newer": {"url": open_.enter_context(running("tests.fakes.era_server", "newer", str(effects))), **known},
            "own": {"command": [*command, "both", str(effects)], "per_session": True, **piped},
        }})  # fmt: skip
        here.write("rules", RULES)
        broker = open_.enter_context(here.broker())
        yield Bench(here, broker, here.agent(), here.person(REVIEWERS[0]), effects)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("server", ["older", "newer"])
async def test_a_pipe_shows_what_http_shows(bench: Bench, server: str, mode: str) -> None:
    headers = {"authorization": f"Bearer {bench.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(bench.broker.mcp(server), http_client=http), mode=mode) as direct,
        bench.shim(server, mode) as client,
    ):
        assert await everything(client) == await everything(direct)
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_parked_call_is_approved_and_runs_once(bench: Bench, mode: str) -> None:
    heard: list[float] = []

    async def progress(value: float, total: float | None, message: str | None) -> None:
        heard.append(value)

    title = f"over a pipe, {mode}"
    answers: list[str] = []

    async def call(client: Client) -> None:
        answers.append(text_of(await client.call_tool("effect", {"text": title}, progress_callback=progress)))

    async with bench.shim("older", mode) as client, Person(bench.broker.url, bench.person) as fay:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, client)
                await fay.approve(await fay.titled(title))
    assert answers == [title]
    assert (await lines(bench.effects)).count(title) == 1


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_pipe_to_no_server_in_particular_reaches_all_of_them(bench: Bench, mode: str) -> None:
    title = f"over all, {mode}"
    async with bench.shim("", mode) as client, Person(bench.broker.url, bench.person) as fay:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert sorted(names) == sorted(
            [f"{server}__{tool}" for server in ("newer", "older", "own") for tool in TOOLS_DO] + [WAIT]
        )
        for server in ("newer", "older", "own"):
            assert text_of(await client.call_tool(f"{server}__echo", {"text": server})) == server
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "older__effect", {"text": title})
                await fay.approve(await fay.titled(title))
    assert (await lines(bench.effects)).count(title) == 1


@pytest.mark.parametrize(
    ("server", "mode"),
    [("own", "legacy"), ("newer", "auto"), ("newer", "legacy"), ("", "auto"), ("", "legacy")],
)
async def test_the_server_asks_the_client_through_the_pipe(bench: Bench, server: str, mode: str) -> None:
    tools = {"own": ["ask"], "newer": ["round"], "": ["newer__round"] + (["own__ask"] if mode == "legacy" else [])}[server]
    async with bench.shim(server, mode, elicitation_callback=answer_ann) as client:
        for tool in tools:
            assert text_of(await client.call_tool(tool, {"text": "who?"})) == "accept: ann"


@pytest.mark.parametrize(("server", "mode"), [("older", "auto"), ("older", "legacy"), ("newer", "auto"), ("newer", "legacy")])
async def test_a_call_that_is_given_up_is_cancelled_at_the_server(bench: Bench, server: str, mode: str) -> None:
    mark = f"{server} {mode}"
    with anyio.fail_after(20):
        async with bench.shim(server, mode) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "hang", {"text": mark})
                await lines(bench.effects, f"hangs {mark}")
                tasks.cancel_scope.cancel()
            await lines(bench.effects, f"cancelled {mark}")


async def test_the_session_ends_with_the_pipe_and_its_process_with_it(bench: Bench) -> None:
    async with bench.shim("own", "legacy") as client:
        pid = int(text_of(await client.call_tool("pid", {})))
        os.kill(pid, 0)
    with anyio.fail_after(10), pytest.raises(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await anyio.sleep(0.01)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_wrong_token_is_said_in_one_sentence(bench: Bench, mode: str) -> None:
    with anyio.fail_after(20), pytest.raises(Exception) as refused:
        async with bench.shim("older", mode, token="agt_wrong"):
            pass
    assert "the broker does not accept the token" in told(refused.value)


def told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " ".join(told(inner) for inner in error.exceptions)
    return error.error.message if isinstance(error, MCPError) else str(error)


@pytest.mark.slow
async def test_a_broker_that_comes_back_is_spoken_to_again(bench: Bench) -> None:
    with bench.here.broker() as first:
        port = int(first.url.rpartition(":")[2])
        other = Bench(bench.here, first, bench.token, bench.person, bench.effects)
        async with other.shim("own", "legacy") as client:
            before = text_of(await client.call_tool("pid", {}))
            first.stop()
            with pytest.raises(MCPError, match="can't be reached"):
                await client.call_tool("pid", {})
            with bench.here.broker(port):
                assert text_of(await client.call_tool("pid", {})) != before
