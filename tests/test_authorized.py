"""Tools for some groups alone: `authorize_tool` on a server of the SDK, called directly, with a token, and through the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer

from broker.audit.keys import SigningKey, published, signing_key
from broker.authorized import Policy, authorize_tool, told_by_broker, told_by_token
from broker.domain.calls import Caller
from broker.guarded import guarded
from broker.identity.assertions import HEADER, asserted, introducing
from broker.identity.issuers import Issuer
from tests.conftest import empty
from tests.fakes.provider import Provider
from tests.fakes.wired import wired
from tests.gateway.rig import serving

ANN = Caller(user="ann@example.com", agent="bot", groups=("ads-eng",))
HERE = "https://metrics.example.com/mcp"


class Metrics:
    """A toy server whose revenue is for ads-eng. `ran` counts what got through."""

    def __init__(self, folder: Path, policy: Policy = "ads-eng", issuer: Issuer | None = None) -> None:
        self.file = folder / "data" / "keys" / "signing-key.pem"
        self.key: SigningKey = signing_key(self.file)
        self.ran = 0
        self.server = MCPServer("metrics")
        keys = published(self.file)
        who = told_by_token(issuer, resource=HERE) if issuer else told_by_broker("tools", keys)

        @self.server.tool()
        @authorize_tool(policy=policy, identity=who)
        def echo(quarter: str) -> str:
            """Return the revenue."""
            self.ran += 1
            return f"revenue of {quarter}"

        @self.server.tool()
        @authorize_tool(policy=policy, identity=who)
        @guarded(server="tools", keys=keys)
        def park_me(quarter: str) -> str:
            """Return the revenue, once people agreed."""
            self.ran += 1
            return f"revenue of {quarter}"

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = self.server.streamable_http_app()
        async with app.router.lifespan_context(app), serving(app) as url:
            yield f"{url}/mcp"

    def word(
        self, caller: Caller = ANN, *, server: str = "tools", ago: float = 0, key: SigningKey | None = None
    ) -> dict[str, str]:
        at = datetime.now(UTC) - timedelta(seconds=ago)
        return {HEADER: introducing(key or self.key, "broker", caller, caller.groups, server, at)}


async def called(url: str, headers: dict[str, str], tool: str = "echo") -> str:
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool(tool, {"quarter": "Q3"})
        return " ".join(getattr(block, "text", "") for block in result.content)


async def test_only_whom_the_brokers_word_puts_into_the_group_gets_in(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    stranger = signing_key(tmp_path / "stranger.pem")
    async with metrics.served() as url:
        assert "revenue of Q3" in await called(url, metrics.word())
        eve = Caller(user="eve@example.com", groups=("finance",))
        refused = {
            "nobody said": await called(url, {}),
            "another group": await called(url, metrics.word(eve)),
            "for another server": await called(url, metrics.word(server="files")),
            "old": await called(url, metrics.word(ago=120)),
            "from the future": await called(url, metrics.word(ago=-120)),
            "a stranger's": await called(url, metrics.word(key=stranger)),
            "a statement for a provider": await called(
                url, {HEADER: asserted(metrics.key, "broker", ANN, "tools", datetime.now(UTC))}
            ),
            "garbage": await called(url, {HEADER: "a.b.c"}),
            "plain headers": await called(url, {"x-forwarded-user": "ann@example.com", "x-forwarded-groups": "ads-eng"}),
        }
    assert {name: "not authorized" in answer for name, answer in refused.items()} == dict.fromkeys(refused, True)
    assert metrics.ran == 1


@pytest.mark.parametrize(
    ("policy", "gets_in"),
    [("ads-eng", True), ("finance", False), (("finance", "ads-eng"), True), ((), False),
     (lambda caller: caller.user == "ann@example.com", True), (lambda caller: caller.workload != "", False)],
)  # fmt: skip
async def test_a_policy_is_a_group_groups_or_a_question(tmp_path: Path, policy: Policy, gets_in: bool) -> None:
    metrics = Metrics(tmp_path, policy)
    async with metrics.served() as url:
        assert ("revenue" in await called(url, metrics.word())) == gets_in


async def test_an_access_token_of_its_own_says_the_same(tmp_path: Path) -> None:
    provider = Provider()
    runner = await provider.start()
    soon = int(datetime.now(UTC).timestamp()) + 60
    metrics = Metrics(tmp_path, "support", Issuer(provider.url))
    async with metrics.served() as url:

        async def with_token(**claims: Any) -> bool:
            token = provider.token(**{"aud": HERE, "exp": soon, **claims})
            return "revenue" in await called(url, {"authorization": f"Bearer {token}"})

        assert await with_token()
        assert not await with_token(groups=["finance"])
        assert not await with_token(aud="https://elsewhere.example")
        assert not await with_token(exp=soon - 600)
        assert "not authorized" in await called(url, {})
    await runner.cleanup()


async def test_through_the_broker_the_same_people_get_in_and_a_receipt_is_still_needed(store_url: str, tmp_path: Path) -> None:
    await empty(store_url)
    metrics = Metrics(tmp_path)
    entry = "servers: {{tools: {{url: '{}', tell_caller: true, tools: {{echo: {{}}, park_me: {{}}}}}}}}"
    async with metrics.served() as url, wired(store_url, tmp_path, servers=entry.format(url)) as here:
        agents, lasts = here.run.broker.identity.agents, timedelta(hours=1)
        ann = await agents.add("ann-bot", owner="sam@example.com", user="ann@example.com", groups=("ads-eng",), lasts=lasts)
        eve = await agents.add("eve-bot", owner="sam@example.com", user="eve@example.com", groups=("finance",), lasts=lasts)
        arguments = {"quarter": "Q3"}
        assert "revenue of Q3" in (await here.call("echo", arguments, token=ann)).text
        assert "not authorized" in (await here.call("echo", arguments, token=eve)).text
        assert "runs only with an approval" in await called(url, metrics.word(), "park_me")
        assert "revenue of Q3" in (await here.parked(arguments, authorization=f"Bearer {ann}")).text
        assert "not authorized" in (await here.parked(arguments, authorization=f"Bearer {eve}")).text
    assert metrics.ran == 2
