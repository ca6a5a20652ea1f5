"""The bench: one broker in front of three servers, five people and a service, a token issuer, and a Slack workspace.

People and services come with tokens of the company's issuer, or of the surface (chat, IDE, bot) that they use; those who decide
have personal tokens of the broker's own. Every test has arguments of its own, so that none meets another's requests.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation

from broker.app import Broker
from broker.approvals.ports import Query
from broker.domain.events import Event
from broker.domain.requests import ApprovalRequest, RequestState
from broker.identity.assertions import HEADER
from broker.identity.people import Scope
from broker.running import Running, running
from broker.settings import Settings, TokenIssuer
from tests.company.files import ANN, GROUPS, PROXY, RULES, SAM, SLOTS, SVC, people, servers
from tests.company.toys import Toy, fleet, streaming
from tests.fakes.provider import Provider
from tests.fakes.slack_front import SlackFront
from tests.fakes.wired import free_port
from tests.gateway.wire import call, modern, post
from tests.journeys.people import Person

CLIENT = "analyst-chat"


@dataclass
class Bench:
    """`http` speaks to the broker, `store` is the address of its store. `tokens` are credentials that were made once."""

    run: Running
    issuer: Provider
    toys: dict[str, Toy]
    slack: SlackFront
    folder: Path
    http: httpx2.AsyncClient
    store: str
    tokens: dict[str, str] = field(default_factory=dict)

    me = Implementation(name="a-client-of-its-own", version="1")

    @property
    def broker(self) -> Broker:
        return self.run.broker

    @property
    def url(self) -> str:
        return self.run.url

    # -- who calls ----------------------------------------------------------------------------------------

    def token(self, who: str = ANN, **claims: Any) -> str:
        """An access token of the company's issuer, as a client of this person brings it."""
        soon = int((datetime.now(UTC) + timedelta(minutes=5)).timestamp())
        told = {"sub": who, "groups": list(GROUPS.get(who, ())), "aud": f"{self.url}/mcp", "exp": soon, "client_id": CLIENT}
        return self.issuer.token(**{**told, **claims})

    def svid(self, subject: str = SVC, **claims: Any) -> str:
        """A service's JWT-SVID: no issuer, no client, no groups."""
        return self.token(subject, **{"iss": None, "client_id": None, "groups": None, **claims})

    def client(self, token: str, server: str = "", mode: Any = "auto", **more: Any) -> Any:
        """The SDK's client, in either era; without a server at the address of all."""
        return _client(self.url + (f"/mcp/{server}" if server else "/mcp"), token, mode, more)

    def direct(self, server: str, mode: Any = "auto") -> Any:
        """The SDK's client around the broker, with the secret that only the broker has."""
        toy = self.toys[server]
        return _client(toy.url, toy.secret or "anybody", mode, {})

    async def call(self, token: str, server: str, tool: str, arguments: Any = None, **headers: str) -> httpx2.Response:
        return await self.ask(token, server, call(tool, arguments), **headers)

    async def ask(self, token: str, server: str, message: Any, **headers: str) -> httpx2.Response:
        head = {"authorization": f"Bearer {token}"} if token else {}
        return await post(self.http, f"{self.url}/mcp/{server}" if server else f"{self.url}/mcp", message, **head, **headers)

    async def listed(self, token: str, server: str = "") -> set[str]:
        """The names of the tools that a caller is shown, without the broker's own."""
        answer = (await self.ask(token, server, modern("tools/list"))).json()
        return {tool["name"] for tool in answer["result"]["tools"]} - {"approval_wait"}

    async def approved(self, title: str, run: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call that asks, have sam approve it, and return what the agent gets."""
        found: list[Any] = []

        async def ask() -> None:
            found.append(await run())

        async with self.person() as sam, anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.fail_after(20):
                await sam.approve(await sam.titled(title))
        return found[0]

    async def fate(self, token: str, server: str, tool: str, arguments: Mapping[str, Any]) -> str:
        """What the broker does with a call, in the words of `/api/authz/check`. What asks people is left waiting."""
        answers: list[httpx2.Response] = []
        before = {one.id for one in await self.pending()}

        async def ask() -> None:
            answers.append(await self.call(token, server, tool, arguments))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.fail_after(20):
                while not answers and {one.id for one in await self.pending()} == before:  # noqa: ASYNC110 - either comes
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        if not answers:
            return "needs_approval"
        told = answers[0].json().get("result", {}).get("_meta", {}).get("approval-broker/code", "")
        return "deny" if told == "denied" or answers[0].status_code == 403 else "allow"

    async def pending(self) -> Sequence[ApprovalRequest]:
        return (await self.broker.store.requests.find(Query(states=(RequestState.PENDING,)), limit=200)).requests

    # -- who decides --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def person(self, name: str = SAM) -> AsyncIterator[Person]:
        async with Person(self.url, await self.personal(name)) as one:
            yield one

    async def personal(self, name: str) -> str:
        if name not in self.tokens:
            lasts = timedelta(hours=1)
            self.tokens[name] = await self.broker.identity.people.add(name, scopes=tuple(Scope), lasts=lasts)
        return self.tokens[name]

    async def api(self, name: str, verb: str, path: str, body: Any = None) -> httpx2.Response:
        """Ask the API for people with somebody's personal token; nobody's where the name is empty."""
        head = {"authorization": f"Bearer {await self.personal(name)}"} if name else {}
        return await self.http.request(verb, self.url + path, json=body, headers=head)

    @asynccontextmanager
    async def visitor(self, name: str) -> AsyncIterator[httpx2.AsyncClient]:
        """Somebody who is signed in on the pages."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=20, verify=False) as client:
            code = await self.broker.identity.links.add(name)
            assert (await client.post("/sign-in", data={"code": code})).status_code == 303
            yield client

    # -- what happened ------------------------------------------------------------------------------------

    async def events(self, after: int = 0) -> Sequence[Event]:
        return [entry.event for entry in await self.broker.store.audit.read(after, 10_000)]

    async def mark(self) -> int:
        """The number of the last event, so that a test reads its own only."""
        return await self.broker.store.audit.last()

    def spoken_for(self, server: str) -> set[str]:
        """For whom messages reached a server that is told its callers, as the broker's signed word names them."""
        words = [head[HEADER.lower()] for head in self.toys[server].heads if HEADER.lower() in head]
        return {str(json.loads(urlsafe_b64decode(word.split(".")[1] + "=="))["sub"]) for word in words}

    async def card(self, says: str, channel: str = "approvals") -> dict[str, Any]:
        """Wait for a card in Slack that says something."""
        with anyio.fail_after(20):
            while True:
                for message in await self.slack.messages(channel):
                    if says in json.dumps(message):
                        return message
                await self.slack.next_call()

    @asynccontextmanager
    async def changed(self, **files: str) -> AsyncIterator[None]:
        """Have other policy files in force for a while."""
        kept = {name: (self.folder / "policies" / f"{name}.yaml").read_text() for name in files}
        await self._write(files)
        try:
            yield
        finally:
            await self._write(kept)

    async def problems(self, **files: str) -> str:
        """What is wrong with other policy files, which are not taken."""
        kept = {name: (self.folder / "policies" / f"{name}.yaml").read_text() for name in files}
        try:
            await self._write(files, good=False)
            return str(self.broker.policies.problems)
        finally:
            await self._write(kept)

    async def _write(self, files: Mapping[str, str], *, good: bool = True) -> None:
        for name, text in files.items():
            (self.folder / "policies" / f"{name}.yaml").write_text(text)
        await self.broker.policies.load()
        assert bool(self.broker.policies.problems) is not good


@asynccontextmanager
async def _client(url: str, token: str, mode: Any, more: Mapping[str, Any]) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=20, verify=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **more) as client,
    ):
        yield client


@asynccontextmanager
async def opened(store: str, slack: SlackFront, folder: Path) -> AsyncIterator[Bench]:
    """Start everything. `store` is the address of an empty store."""
    async with AsyncExitStack() as rooms:
        rooms.enter_context(streaming())
        port = free_port()
        toys = fleet(folder, f"http://127.0.0.1:{port}")
        for toy in toys.values():
            await rooms.enter_async_context(toy.served())
        issuer = Provider()
        rooms.push_async_callback((await issuer.start()).cleanup)
        policies, secret = folder / "policies", folder / "presto-secret"
        policies.mkdir()
        secret.write_text(toys["presto"].secret)
        accounts = {SAM: await slack.user("dana")}
        (policies / "servers.yaml").write_text(json.dumps({"servers": servers(toys, secret)}))
        (policies / "people.yaml").write_text(people(accounts))
        (policies / "rules.yaml").write_text(RULES)
        run = await rooms.enter_async_context(running(_settings(store, slack, folder, issuer, port)))
        slack.deliver = run.url
        http = await rooms.enter_async_context(httpx2.AsyncClient(timeout=20, verify=False))
        yield Bench(run, issuer, toys, slack, folder, http, store)


def _settings(store: str, slack: SlackFront, folder: Path, issuer: Provider, port: int) -> Settings:
    return Settings(
        redis_url=store, policies=folder / "policies", data=folder / "data", port=port, public_url=f"http://127.0.0.1:{port}",
        oauth_issuers=(
            TokenIssuer(
                issuer=issuer.url, surface_claim="surface", conversation_claim="conversation", trust_domain="example.com"
            ),
        ),
        trusted_proxies=(f"{PROXY}/32",), registry_read="filtered", registry_namespace="com.example",
        review_groups={slot: (slot,) for slot in SLOTS}, enrol_networks=("127.0.0.0/8",),
        probe_every=timedelta(seconds=0.3), observers=("approvers",), slack_bot_token="xoxb-test",
        slack_signing_secret=slack.secret, slack_url=slack.url, slack_answers=slack.answers,
    )  # fmt: skip
