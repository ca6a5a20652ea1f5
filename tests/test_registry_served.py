"""The registry of a whole broker in front of real servers: how they are, is seen; a tracker takes part in the reviews."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from aiohttp import web

from broker.channels.web.client_configs import snippets
from broker.identity.people import Scope, SignInLinks
from broker.registry.official import GOVERNANCE
from broker.registry.tracker import signed, verified
from broker.running import Running, running
from broker.settings import Settings
from tests.conftest import empty
from tests.fakes.ledger_server import Ledger, ledger
from tests.fakes.server_json import server_json
from tests.gateway.wire import call

NAME, SLOTS = "com.example/payments", ("security", "legal_privacy", "genai")
SECRET = "a tracker's secret, long enough"
PEOPLE = (
    "people: {}\ngroups: {payments: [olga@example.com], support: [eve@example.com], security: [security@example.com],"
    " legal_privacy: [legal_privacy@example.com], genai: [genai@example.com]}\n"
)
EVERY = timedelta(seconds=0.3)


class Tracker:
    """Keeps what it was told of reviews."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        assert verified(SECRET.encode(), headers, body, time.time())
        self.told.append(json.loads(body))
        return web.Response()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/hook", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        finally:
            await runner.cleanup()

    async def waits(self) -> Mapping[str, Any]:
        """Return the first notice of something to review."""
        with anyio.fail_after(10):
            while not (found := [told for told in self.told if "review" in told]):  # noqa: ASYNC110 - it is told by itself
                await anyio.sleep(0.02)
        return found[0]


@asynccontextmanager
async def broker(store_url: str, folder: Path, servers: str, **settings: Any) -> AsyncIterator[Running]:
    await empty(store_url)
    policies = folder / "policies"
    policies.mkdir()
    rules = "defaults: {unmatched: allow, unknown_tool: deny}\nrules: []\n"
    for name, text in (("servers", servers), ("people", PEOPLE), ("rules", rules)):
        (policies / f"{name}.yaml").write_text(text)
    made = Settings(
        redis_url=store_url, policies=policies, data=folder / "data", port=0, probe_every=EVERY, enrol_networks=("127.0.0.0/8",),
        review_groups={slot: (slot,) for slot in SLOTS}, **settings,
    )  # fmt: skip
    async with running(made) as run:
        yield run


async def person(run: Running, name: str) -> httpx2.AsyncClient:
    scopes = (Scope.READ, Scope.REVIEW, Scope.SERVERS)
    token = await run.broker.identity.people.add(f"{name}@example.com", scopes=scopes, lasts=timedelta(hours=1))
    return httpx2.AsyncClient(base_url=run.url, headers={"authorization": f"Bearer {token}"}, timeout=20)


@asynccontextmanager
async def visitor(run: Running, name: str) -> AsyncIterator[httpx2.AsyncClient]:
    links: SignInLinks = run.broker.identity.links
    async with httpx2.AsyncClient(base_url=run.url, timeout=20) as client:
        assert (await client.post("/sign-in", data={"code": await links.add(f"{name}@example.com")})).status_code == 303
        yield client


async def shown(page: httpx2.AsyncClient, api: httpx2.AsyncClient) -> tuple[str, str]:
    """How the server is, by its page and by the API."""
    text = (await page.get("/servers/toy")).text
    state = (await api.get("/v0.1/servers")).json()["servers"][0]["_meta"][GOVERNANCE]["live"]["state"]
    return "up" if ">Up</span>" in text else "down" if ">Down</span>" in text else "unknown", state


async def test_a_killed_server_is_down_on_page_and_api_within_the_interval_and_up_when_it_is_back(
    store_url: str, tmp_path: Path
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    servers, again = f"servers: {{toy: {{url: 'http://127.0.0.1:{port}/mcp'}}}}\n", {"TOY_PORT": str(port)}
    async with broker(store_url, tmp_path, servers) as run, visitor(run, "eve") as page, await person(run, "eve") as api:

        async def until(state: str) -> None:
            with anyio.fail_after(EVERY.total_seconds() + 5):
                while await shown(page, api) != (state, state):  # noqa: ASYNC110 - a page has no event
                    await anyio.sleep(0.05)

        with ledger(tmp_path / "effects", env=again):
            await until("up")
        await until("down")
        with ledger(tmp_path / "effects", env=again):
            await until("up")
        assert 'class="down"' in (await page.get("/servers/toy")).text  # the strip remembers


async def test_a_tracker_hears_of_a_proposal_brings_the_reviews_and_the_copied_client_reaches_the_server(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker()
    with ledger(tmp_path / "effects") as upstream:
        async with tracker.listening() as hook:
            settings = {"review_webhook": hook, "review_webhook_secret": SECRET}
            async with broker(store_url, tmp_path, "servers: {}\n", **settings) as run, await person(run, "olga") as olga:
                refused = await olga.post("/v0.1/publish", json=server_json(url="http://169.254.169.254/latest"))
                assert (refused.status_code, "private network" in refused.json()["error"]) == (400, True)
                assert (await olga.post("/v0.1/publish", json=server_json(url=upstream.url))).status_code == 200
                assert (await olga.post(f"/api/v1/servers/{NAME}/submit", json={})).status_code == 200
                waits = await tracker.waits()
                assert (waits["server"], waits["review"]["tools"]) == (NAME, ["balance", "transfer"])
                assert waits["review"]["widens"] == "this widens access by support and 1 person of people.yaml"
                for slot in SLOTS:
                    told = {
                        "server": NAME, "slot": slot, "state": "approved", "by": f"{slot}@example.com",
                        "digest": waits["review"]["digest"],
                    }  # fmt: skip
                    body = json.dumps(told).encode()
                    headers = signed(SECRET.encode(), f"msg_{slot}", int(time.time()), body)
                    answer = await olga.post("/api/hooks/reviews", content=body, headers=headers)
                    assert answer.status_code == 200, answer.text
                assert answer.json() == {"server": NAME, "lifecycle": "approved"}
                token = await run.broker.identity.agents.add(
                    "bot", owner="eve@example.com", user="eve@example.com", lasts=EVERY * 999
                )
                assert "balance" in await copied(run.url, token, monkeypatch)
                with ledger(tmp_path / "moved") as elsewhere:
                    assert (
                        await olga.post("/v0.1/publish", json=server_json(version="1.1.0", url=elsewhere.url))
                    ).status_code == 200
                    await moved(run, token, upstream, elsewhere)


async def moved(run: Running, token: str, before: Ledger, after: Ledger) -> None:
    """Calls go where they went until all three have looked at the new version, and to its address from then on."""
    await transfer(run, token, "before")
    for slot in SLOTS:
        async with await person(run, slot) as reviewer:
            shown = (await reviewer.get(f"/api/v1/servers/{NAME}")).json()["shown"]
            assert (shown["address"], shown["widens"]) == (after.url, "this widens nobody's access")
            told = {"slot": slot, "state": "approved", "digest": shown["digest"]}
            answer = await reviewer.post(f"/api/v1/servers/{NAME}/reviews", json=told)
            assert answer.status_code == 200, answer.text
    await transfer(run, token, "after")
    assert ([one["to"] for one in before.effects()], [one["to"] for one in after.effects()]) == (["before"], ["after"])


async def transfer(run: Running, token: str, to: str) -> None:
    headers = {
        "authorization": f"Bearer {token}", "accept": "application/json, text/event-stream", "mcp-method": "tools/call",
        "mcp-name": "transfer", "mcp-protocol-version": "2026-07-28",
    }  # fmt: skip
    async with httpx2.AsyncClient(timeout=20) as http:
        message = call("transfer", {"to": to, "amount": 1})
        answer = await http.post(f"{run.url}/mcp/payments", json=message, headers=headers)
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.json(), answer.text


async def copied(base: str, token: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run what the page offers for the SDK, as it stands there, until the server's tools are accepted everywhere."""
    (text,) = [one.text for one in snippets("payments", base) if one.client == "Python SDK"]
    monkeypatch.setenv("BROKER_TOKEN", token)
    said: list[str] = []
    code = text.rpartition("anyio.run(main)")[0]
    scope: dict[str, Any] = {"print": lambda *words: said.append(" ".join(map(str, words)))}
    exec(code, scope)
    with anyio.fail_after(15):
        while "balance" not in " ".join(said):
            await scope["main"]()
            await anyio.sleep(0.1)
    return said[-1]
