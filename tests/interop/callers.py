"""Real clients, each a program of its own: it calls one tool, tells how that ended, and calls again when told to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from tests.interop.environments import python_of
from tests.node.install import install

HERE = Path(__file__).resolve().parent


class Kind(NamedTuple):
    """`timer` is what a user gets without configuring anything (None: no limit), in seconds. `shared`: its name is the SDK's."""

    name: str
    timer: float | None
    options: dict[str, Any]
    shared: bool = True


KINDS = (
    Kind("python-auto", None, {"mode": "auto"}),
    Kind("python-legacy", None, {"mode": "legacy"}),
    Kind("typescript", 60, {}, shared=False),
    Kind("typescript-progress", 60, {"progress": True}, shared=False),
    Kind("langchain", 300, {}),
    Kind("openai-agents", 5, {}),
)


class Attempt(NamedTuple):
    """How one call ended for the client: `text` of the result, or its own `error`; after so many seconds."""

    text: str
    error: str
    seconds: float


class Caller:
    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdout is not None
        self._lines = _lines(TextReceiveStream(process.stdout))

    async def ended(self) -> Attempt:
        """Return how the call that is under way ends."""
        return Attempt(**json.loads(await anext(self._lines)))

    async def again(self) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send(b"\n")


async def _lines(chunks: TextReceiveStream) -> AsyncIterator[str]:
    rest = ""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split("\n")
        for line in whole:
            yield line


@asynccontextmanager
async def calling(
    kind: Kind, url: str, token: str, tool: str, arguments: dict[str, Any], *, timeout: float = 0, attempts: int = 2
) -> AsyncIterator[Caller]:
    """Start a client that calls at once, `attempts` times in all; `timeout` 0 leaves it its own timer."""
    order = {"url": url, "token": token, "tool": tool, "arguments": arguments, "timeout": timeout, "attempts": attempts}
    program, env = _program(kind)
    command = [*program, json.dumps({**order, **kind.options})]
    async with await anyio.open_process(command, stderr=subprocess.DEVNULL, env=env) as process:
        try:
            yield Caller(process)
        finally:
            process.kill()


def _program(kind: Kind) -> tuple[list[str], dict[str, str]]:
    """The command of a client and its whole environment: nothing of ours leaks into it."""
    if kind.name.startswith("typescript"):
        node = install()
        return [str(node.program), str(HERE / "typescript" / "client.mjs")], {"NODE_PACKAGES": str(node.modules)}
    if kind.name.startswith("python"):
        return [sys.executable, str(HERE / "python_client.py")], {}
    folder = kind.name.replace("-", "_")
    return [str(python_of(folder)), str(HERE / folder / "client.py")], {"OPENAI_AGENTS_DISABLE_TRACING": "1"}
