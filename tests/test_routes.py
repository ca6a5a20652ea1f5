from __future__ import annotations

import json

import pytest

from broker.diagnosis import Finding, Level
from broker.policy.load import compose
from broker.policy.model import Policy
from broker.routes import route_findings
from broker.settings import Settings
from tests.fakes.scripted import Reply, Seen, Upstream, usual
from tests.gateway.rig import serving

AROUND = "lists its tools to whoever reaches {}, without a credential: calls may go around the broker"
MEND = "give it credentials that the broker alone has, close its network, or demand receipts (broker.guarded)"


def policy(url: str) -> Policy:
    server = {"url": url, "headers": {"Authorization": "Bearer env:SECRET"}, "tools": {"echo": {}}}
    return compose({"servers.yaml": json.dumps({"servers": {"s": server}}).encode()})


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush-hush")


async def test_a_server_that_answers_a_stranger_is_a_route_around_the_broker() -> None:
    async with serving(Upstream()) as url:
        found = await route_findings(policy(url), Settings())
    assert found == [Finding(Level.WARNING, "server s", AROUND.format(url), MEND)]


async def test_a_server_that_wants_the_brokers_credentials_is_fine() -> None:
    upstream = Upstream()

    async def closed(seen: Seen, reply: Reply) -> None:
        if seen.headers.get("authorization") == "Bearer hush-hush":
            await usual(seen, reply)
        else:
            await reply.raw(401)

    upstream.on = dict.fromkeys(("initialize", "server/discover", "tools/list"), closed)
    async with serving(upstream) as url:
        found = await route_findings(policy(url), Settings())
    assert found == [Finding(Level.FINE, "server s", "answers the broker, and nobody without its credentials")]


async def test_a_server_that_can_not_be_asked_is_noted() -> None:
    (found,) = await route_findings(policy("http://127.0.0.1:9/mcp"), Settings())
    assert (found.level, found.told.partition(":")[0]) == (Level.WARNING, "can't be asked for its tools")
