"""Servers that we did not write, behind the broker: an agent sees and gets what it would see and get without it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from broker.domain.events import Claimed, Delivered, Finished, Opened, RequestEvent, Reviewed
from tests.interop.npm_servers import EVERYTHING_CALLS, everything, everything_over_http, filesystem, seen, without_ours
from tests.journeys.brokers import REVIEWERS, Broker, Place, place
from tests.journeys.people import Person

READ = ("read_text_file", "list_directory", "directory_tree", "search_files", "list_allowed_directories")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.txt").write_text("a file\nof two lines\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text("héllo\n")
    return folder


@pytest.fixture(scope="module")
def everything_url() -> Iterator[str]:
    with everything_over_http() as url:
        yield url


@pytest.fixture(scope="module")
def here(folder: Path, everything_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    shown = {tool: {} for tool, _ in EVERYTHING_CALLS}
    with place(tmp_path_factory.mktemp("place")) as here:
        here.write(
            "servers",
            {
                "servers": {
                    "files": {"command": list(filesystem(folder)), "tools": {tool: {} for tool in (*READ, "write_file")}},
                    "local": {"command": list(everything()), "tools": shown},
                    "remote": {"url": everything_url, "tools": shown},
                }
            },
        )
        here.write(
            "rules",
            {
                "defaults": {
                    "approval": {"all_of": [{"group": "reviewers"}], "timeout": "15m"},
                    "unknown_tool": "require_approval",  # else the tools that are not listed above would not be shown
                },
                "rules": [
                    {"id": "free", "match": {"server": "*", "not_tool": "write_file"}, "effect": "allow"},
                    {"id": "asked", "match": {"server": "files", "tool": "write_file"}, "effect": "require_approval"},
                ],
            },
        )
        yield here


@pytest.fixture(scope="module")
def token(here: Place) -> str:
    return here.agent()


@pytest.fixture(scope="module")
def reviewer(here: Place) -> str:
    return here.person(REVIEWERS[0])


@pytest.fixture(scope="module")
def broker(here: Place) -> Iterator[Broker]:
    with here.broker() as broker:
        yield broker


@asynccontextmanager
async def through(broker: Broker, server: str, token: str, mode: Any) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(broker.mcp(server), http_client=http), mode=mode) as client,
    ):
        yield client


def over_stdio(command: tuple[str, ...]) -> StdioServerParameters:
    return StdioServerParameters(command=command[0], args=list(command[1:]))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("server", ["remote", "local"])
async def test_lists_and_results_are_those_of_the_server_itself(
    server: str, mode: Any, everything_url: str, broker: Broker, token: str
) -> None:
    target = everything_url if server == "remote" else over_stdio(everything())
    async with Client(target, mode=mode) as direct, through(broker, server, token, mode) as guarded:
        assert without_ours(await seen(guarded, EVERYTHING_CALLS)) == without_ours(await seen(direct, EVERYTHING_CALLS))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_files_are_listed_and_read_as_without_the_broker(mode: Any, folder: Path, broker: Broker, token: str) -> None:
    calls = (
        ("read_text_file", {"path": str(folder / "deep" / "b.txt")}),
        ("read_text_file", {"path": str(folder / "a.txt"), "head": 1}),
        ("read_text_file", {"path": str(folder / "missing.txt")}),
        ("list_directory", {"path": str(folder)}),
        ("directory_tree", {"path": str(folder)}),
        ("search_files", {"path": str(folder), "pattern": "*.txt"}),
        ("list_allowed_directories", {}),
    )
    async with Client(over_stdio(filesystem(folder)), mode=mode) as direct, through(broker, "files", token, mode) as guarded:
        assert without_ours(await seen(guarded, calls)) == without_ours(await seen(direct, calls))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_file_is_written_once_and_only_after_the_approval(
    mode: Any, folder: Path, here: Place, broker: Broker, token: str, reviewer: str
) -> None:
    written = folder / f"{mode}.txt"
    call = {"path": str(written), "content": "reviewed\n"}
    told: list[Any] = []

    async def calling(client: Client) -> None:
        told.append(await client.call_tool("write_file", call))

    with anyio.fail_after(30):
        async with through(broker, "files", token, mode) as client, Person(broker.url, reviewer) as fay:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(calling, client)
                [one] = await fay.seen(1)
                assert not written.exists()
                await fay.approve(one)
            assert [block.text for block in told[0].content] == [f"Successfully wrote to {written}"]
            assert written.read_text() == "reviewed\n"
        events = [entry.event for entry in await here.audit()]
    about = [event for event in events if isinstance(event, RequestEvent) and event.request == one["id"]]
    assert [type(event) for event in about] == [Opened, Reviewed, Claimed, Finished, Delivered]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_file_is_not_written_after_a_rejection(
    mode: Any, folder: Path, broker: Broker, token: str, reviewer: str
) -> None:
    refused = folder / f"refused-{mode}.txt"
    told: list[Any] = []

    async def calling(client: Client) -> None:
        told.append(await client.call_tool("write_file", {"path": str(refused), "content": "never"}))

    with anyio.fail_after(30):
        async with (
            through(broker, "files", token, mode) as client,
            Person(broker.url, reviewer) as fay,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(calling, client)
            [one] = await fay.seen(1)
            await fay.reject(one, "not in this folder")
    assert told[0].is_error
    assert "not in this folder" in told[0].content[0].text
    assert not refused.exists()
