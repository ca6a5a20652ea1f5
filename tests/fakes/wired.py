"""The whole broker, wired and served in this process, in front of one scripted server: what only shows when all rooms are joined.

`echo` is allowed, `park_me` asks finance. `dana` and `frida` are finance; `sam` owns the agent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2

from broker.approvals.ports import Query
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict
from broker.running import Running, running
from broker.serving import listening
from broker.settings import Settings
from tests.fakes.scripted import Upstream
from tests.gateway.rig import serving
from tests.gateway.wire import call, post

SERVERS = "servers:\n  tools: {{url: '{url}', tools: {{echo: {{}}, park_me: {{}}}}}}\n"
PEOPLE = "people: {dana@example.com: {name: Dana}}\ngroups: {finance: [dana@example.com, frida@example.com]}\n"
RULES = """
defaults: {approval: {all_of: [{group: finance}], timeout: 15m}, unmatched: deny}
rules:
  - {id: free, match: {server: tools, tool: echo}, effect: allow}
  - {id: asked, title: "Park {args.what}", match: {server: tools, tool: park_me}, effect: require_approval}
"""


@dataclass
class Wired:
    """`agent` and `dana` are their tokens. `http` speaks to the broker."""

    run: Running
    upstream: Upstream
    http: httpx2.AsyncClient
    agent: str
    dana: str

    @property
    def url(self) -> str:
        """Where it listens, whatever its public address is."""
        return f"http://127.0.0.1:{self.run.port}"

    async def call(self, tool: str, arguments: Any = None, *, token: str = "", **headers: str) -> httpx2.Response:
        head = {"authorization": f"Bearer {token or self.agent}", **headers}
        return await post(self.http, f"{self.url}/mcp/tools", call(tool, arguments), **head)

    async def asked(self, count: int = 1) -> list[ApprovalRequest]:
        """Wait until so many requests are open, oldest first."""
        query = Query(states=(RequestState.PENDING,))
        with anyio.fail_after(10):
            while len(found := (await self.run.broker.store.requests.find(query)).requests) < count:  # noqa: ASYNC110 any may come
                await anyio.sleep(0.01)
        return sorted(found, key=lambda request: request.opened_at)

    async def review(self, request: ApprovalRequest, verdict: Verdict = Verdict.APPROVE) -> None:
        await self.run.broker.desk.review(request.id, Reviewer("dana@example.com", "web"), verdict, digest=request.digest)

    async def parked(self, arguments: Any = None, **headers: str) -> httpx2.Response:
        """Call what asks, approve it, and return the answer."""
        found: list[httpx2.Response] = []

        async def ask() -> None:
            found.append(await self.call("park_me", arguments, **headers))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await self.review((await self.asked())[0])
        return found[0]


@asynccontextmanager
async def wired(
    redis_url: str, home: Path, *, rules: str = RULES, people: str = PEOPLE, servers: str = "", port: int = 0, **settings: Any
) -> AsyncIterator[Wired]:  # fmt: skip
    """Yield a broker on a store that is empty. `servers` is another servers.yaml, with URL for the server's address."""
    folder = home / "policies"
    folder.mkdir(exist_ok=True)
    upstream = Upstream()
    async with serving(upstream) as upstream.url:
        for name, text in (
            ("servers", servers.replace("URL", upstream.url) or SERVERS.format(url=upstream.url)),
            ("people", people),
            ("rules", rules),
        ):
            (folder / f"{name}.yaml").write_text(text)
        made = Settings(redis_url=redis_url, policies=folder, data=home / "data", port=port, **settings)
        async with running(made) as run, httpx2.AsyncClient(timeout=20, verify=False) as http:
            lasts = timedelta(hours=1)
            agent = await run.broker.identity.agents.add("bot", owner="sam@example.com", lasts=lasts)
            dana = await run.broker.identity.people.add("dana@example.com", scopes=("read", "review"), lasts=lasts)
            yield Wired(run, upstream, http, agent, dana)


def free_port() -> int:
    """A port that was free a moment ago, for a broker that has to know its public address before it listens."""
    with listening("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])
