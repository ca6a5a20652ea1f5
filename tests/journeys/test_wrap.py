"""`broker wrap -- CMD…` as a client starts it: reading passes, the rest waits for the page, and nothing is left behind."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import Implementation

from broker.demo.attendant import Page
from tests.cli.test_servers import SERVER
from tests.fakes.stdio_bench import ROOT, text_of
from tests.interop.npm_servers import filesystem

ME = Implementation(name="a-client-of-its-own", version="1")
_PAGE = re.compile(r"decide at (http://\S+)/sign-in/(\S+)")


class Wrapped:
    """One start of a wrapped server: its client, and what it says on stderr."""

    def __init__(self, client: Client, said: Path) -> None:
        self.client = client
        self.said = said

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Browser]:
        """Sign in on the page that was named."""
        with anyio.fail_after(10):
            while not (found := _PAGE.search(self.said.read_text())):  # noqa: ASYNC110 - another process writes it
                await anyio.sleep(0.02)
        async with httpx2.AsyncClient(base_url=found[1], follow_redirects=True, timeout=10) as http:
            (await http.post("/sign-in", data={"code": found[2]})).raise_for_status()
            yield Browser(http)


class Browser:
    """A signed-in person before the page."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def find(self, text: str) -> str:
        """Return the path of the request whose page holds a text, once the inbox lists it."""
        while True:
            for path in {link.split("?")[0] for link in Page(await self._get("/")).links if link.startswith("/r/")}:
                if text in await self._get(path):
                    return path
            await anyio.sleep(0.1)

    async def approve(self, path: str) -> None:
        action, fields = Page(await self._get(path)).form("/review")
        answer = await self._http.post(action, data=fields | {"verdict": "approve", "reason": "fine"})
        answer.raise_for_status()

    async def _get(self, path: str) -> str:
        return (await self._http.get(path)).raise_for_status().text


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: a store's socket lies below it."""
    folder = Path(tempfile.mkdtemp(prefix="w"))
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def wrapped(home: Path, mode: str, *command: str) -> AsyncIterator[Wrapped]:
    said = home / "stderr"
    arguments = ["-m", "broker", "wrap", "--no-browser", "--home", str(home / "h"), "--name", "files", "--", *command]
    parameters = StdioServerParameters(command=sys.executable, args=arguments, cwd=ROOT)
    with said.open("w") as errors:
        async with Client(stdio_client(parameters, errlog=errors), mode=mode, client_info=ME) as client:
            yield Wrapped(client, said)


def left(home: Path) -> list[str]:
    """The processes that were started for a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(process.read_bytes().replace(b"\0", b" ").decode())
    return [command for command in found if str(home) in command]


async def test_reading_passes_and_writing_waits_for_the_page_at_the_first_start_and_at_the_next(home: Path) -> None:
    files = home / "files"
    files.mkdir()
    (files / "a.txt").write_text("hello")
    for mode in ("auto", "legacy"):
        new = files / f"{mode}.txt"
        answers: list[Any] = []
        async with wrapped(home, mode, *filesystem(files)) as here:
            read = await here.client.call_tool("read_text_file", {"path": str(files / "a.txt")})
            assert text_of(read) == "hello"

            async def write(client: Client = here.client, path: Path = new, into: list[Any] = answers) -> None:
                into.append(await client.call_tool("write_file", {"path": str(path), "content": "once"}))

            with anyio.fail_after(40):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write)
                    async with here.page() as you:
                        path = await you.find(new.name)
                        assert not new.exists()
                        await you.approve(path)
        assert [answer.is_error for answer in answers] == [False]
        assert new.read_text() == "once"
    with anyio.fail_after(10):
        while left(home):  # noqa: ASYNC110 - the end of other processes is only seen
            await anyio.sleep(0.05)


async def test_a_tool_that_changed_since_the_first_start_asks(home: Path) -> None:
    (home / "server.py").write_text(SERVER)
    command = (sys.executable, str(home / "server.py"), str(home / "tools.json"))
    offer = '[{"name": "read", "description": "%s", "annotations": {"readOnlyHint": true}}]'
    (home / "tools.json").write_text(offer % "Reads.")
    async with wrapped(home, "legacy", *command) as here:
        assert await reached(here, "read")
    (home / "tools.json").write_text(offer % "Reads, and sends it away.")
    async with wrapped(home, "legacy", *command) as here:
        assert not await reached(here, "read")


async def reached(here: Wrapped, tool: str) -> bool:
    """Does a call get to the server, which knows no calls and says so? Else it waits for people."""
    with anyio.move_on_after(3):
        try:
            await here.client.call_tool(tool, {})
        except Exception as error:
            return "no" in str(error)
    return False
