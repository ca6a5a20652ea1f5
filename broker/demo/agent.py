"""The agent: the MCP SDK's client, with four calls to make. It does what a well-behaved agent does when people are asked."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx2
import msgspec
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Implementation, TextContent

from broker.demo.telling import Telling, call_text
from broker.domain.outcomes import Code

CODE = "approval-broker/code"
REFUND = {"customer": "acme", "amount": 900, "currency": "EUR", "reason": "the lamps arrived broken"}
EMPTY = {"table": "stock", "rows": [{"item": "sofa", "count": 1}]}


class Step(msgspec.Struct, frozen=True):
    """One call; `why` is what the agent wants with it."""

    why: str
    server: str
    tool: str
    arguments: dict[str, Any]


LOOK = Step("look at the stock", "warehouse", "query", {"table": "stock"})
DELETE = Step("delete a file", "files", "file_delete", {"name": "welcome.txt"})
SENSITIVE = (
    Step("pay 900 EUR back", "payments", "refund_create", REFUND),
    Step("overwrite the stock", "warehouse", "overwrite", EMPTY),
)


class Agent:
    """Connected to the broker's endpoints with its own token."""

    def __init__(self, clients: dict[str, Client], telling: Telling) -> None:
        self._clients = clients
        self._telling = telling

    async def run(self) -> dict[str, str]:
        """Make all calls, the sensitive ones at the same time. Returns tool -> how it ended (a `Code`, or `allowed`)."""
        ended: dict[str, str] = {}
        for step in (LOOK, DELETE):
            ended[step.tool] = await self._finish(step)

        async def keep(step: Step) -> None:
            ended[step.tool] = await self._finish(step)

        async with anyio.create_task_group() as tasks:
            for step in SENSITIVE:
                tasks.start_soon(keep, step)
        return ended

    async def _finish(self, step: Step) -> str:
        """Call until there is an end: while people decide, the same call joins its own request."""
        self._telling.step("agent", f"I want to {step.why}: {call_text(step.server, step.tool, step.arguments)}")
        while True:
            result = await self._clients[step.server].call_tool(step.tool, step.arguments, progress_callback=self._waiting(step))
            code = str((result.meta or {}).get(CODE, "allowed"))
            self._telling.step("agent", f"{step.tool} -> {code}\n{_text(result)}")
            if code != Code.PENDING:
                return code

    def _waiting(self, step: Step) -> Any:
        said: set[str] = set()

        async def progress(_: float, __: float | None, message: str | None) -> None:
            told = (message or "").split(" (")[0]
            if told and told not in said:
                said.add(told)
                self._telling.step("broker", f"{step.tool} is held: {message}")

        return progress


async def run_agent(url: str, token: str, telling: Telling) -> dict[str, str]:
    """Connect to the endpoints of the three toy servers, make the calls, and return how each ended."""
    async with AsyncExitStack() as stack:
        clients = {}
        for server in ("warehouse", "payments", "files"):
            http = await stack.enter_async_context(
                httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=httpx2.Timeout(30, read=None))
            )
            transport = streamable_http_client(f"{url}/mcp/{server}", http_client=http)
            me = Implementation(name="demo-agent", version="1")
            clients[server] = await stack.enter_async_context(Client(transport, client_info=me))
        return await Agent(clients, telling).run()


def _text(result: CallToolResult) -> str:
    return " ".join(" ".join(item.text.split()) for item in result.content if isinstance(item, TextContent))
