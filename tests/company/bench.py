"""The bench: one broker in front of three servers, five people and a service, a token issuer, and a Slack workspace.

People and services come with tokens of the company's issuer, or of the surface (chat, IDE, bot) that they use; those who decide
have personal tokens of the broker's own. Every test has arguments of its own, so that none meets another's requests.
"""

from __future__ import annotations

import json
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

from broker.app import Broker
from broker.domain.events import Event
from broker.identity.people import Scope
from broker.running import Running, running
from broker.settings import Settings, TokenIssuer
from tests.company.toys import FLEET, Toy, streaming
from tests.fakes.provider import Provider
from tests.fakes.slack_front import SlackFront
from tests.fakes.wired import free_port
from tests.gateway.wire import call, modern, post
from tests.journeys.people import Person

ANN, FIN, EVE, SAM, OLGA = (f"{name}@example.com" for name in ("ann", "fin", "eve", "sam", "olga"))
GROUPS = {ANN: ("ads-eng",), FIN: ("finance",), EVE: (), SAM: ("approvers",), OLGA: ("data-platform",)}
SVC = "spiffe://example.com/nightly-report"
SURFACES, AIRFLOW = ("webapp", "support-bot"), "C0AIRFLOW"
SLOTS = ("security", "legal_privacy", "genai")
PROXY = "127.0.0.2"

RULES = """
defaults: {unmatched: deny, unknown_tool: deny, approval: {all_of: [{group: approvers}], timeout: 15m}}
rules:
  - {id: presto-open, match: {server: presto, tool: [list_tables, status]}, effect: allow}
  - {id: presto-query, match: {server: presto, tool: run_query, groups_any: [ads-eng, finance]}, effect: allow}
  - id: presto-expensive
    title: "Query of {args.estimated_gb} GB"
    match: {server: presto, tool: run_query}
    when: args.?estimated_gb.orValue(0) > 100
    effect: require_approval
    approval: {all_of: [{group: approvers}], timeout: 15m}
  - {id: revenue-of-ads, match: {server: presto, tool: get_revenue_metrics, groups_any: [ads-eng]}, effect: allow}
  - id: overwriting
    title: "Overwrite {args.table}"
    severity: high
    match: {server: presto, tool: overwrite_table}
    effect: require_approval
    approval: {all_of: [{group: approvers}], timeout: 15m, show: [args.table, args.rows], channels: ["slack:#approvals"]}
  - {id: spark-in-its-channel, match: {server: spark, surfaces: [support-bot], conversations: [C0AIRFLOW]}, effect: allow}
  - id: spark-status-asks
    title: "Spark's status"
    match: {server: spark, tool: status, surfaces: [support-bot]}
    effect: require_approval
    approval: {all_of: [{group: approvers}], timeout: 15m}
  - {id: knowledge-open, match: {server: [knowledge, "exp-*", "team-*"]}, effect: allow}
  - {id: webapp-no-experiments, guardrail: true, match: {server: "exp-*", surfaces: [webapp]}, effect: deny}
"""


def people(slack: Mapping[str, str]) -> str:
    """`slack` are accounts by person."""
    persons = {name: {"name": name.partition("@")[0].title()} for name in GROUPS}
    for name, account in slack.items():
        persons[name]["slack_id"] = account
    groups = {group: [name] for name, known in GROUPS.items() for group in known}
    groups["approvers"].append("kim@example.com")
    return json.dumps({"people": persons, "groups": groups | {slot: [f"{slot}@example.com"] for slot in SLOTS}})


def servers(toys: Mapping[str, Toy], secret: Path) -> dict[str, Any]:
    """servers.yaml: what the company declares."""
    reads, owner = {"read_only": True, "destructive": False}, {"team": "Data Platform", "contact": "slack:#data-help"}
    return {
        "presto": {
            "url": toys["presto"].url, "owner": owner, "trust": "reviewed", "tell_caller": True,
            "headers": {"Authorization": f"Bearer file:{secret}"},
            "groups": {"ads-eng": ["*"], "finance": ["list_tables", "status", "run_query", "overwrite_table"]},
            "tools": {
                "list_tables": reads | {"minutes_saved": 2}, "run_query": reads | {"minutes_saved": 6}, "status": reads,
                "get_revenue_metrics": reads | {"minutes_saved": 6}, "overwrite_table": {"destructive": True},
            },
        },
        "spark": {
            "url": toys["spark"].url, "owner": owner, "tell_caller": True,
            "tools": {"diagnose_job": reads, "record_rca": {"read_only": False}, "status": reads},
        },
        "knowledge": {
            "url": toys["knowledge"].url, "owner": owner, "discovery": "public",
            "tools": {"search": reads | {"minutes_saved": 3}},
        },
    }  # fmt: skip


@dataclass
class Bench:
    """`http` speaks to the broker. `tokens` are credentials that were made once."""

    run: Running
    issuer: Provider
    toys: dict[str, Toy]
    slack: SlackFront
    folder: Path
    http: httpx2.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

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
        told = {"sub": who, "groups": list(GROUPS.get(who, ())), "aud": f"{self.url}/mcp", "exp": soon, "client_id": "chat"}
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

    async def card(self, says: str, channel: str = "approvals") -> dict[str, Any]:
        """Wait for a card in Slack that says something."""
        with anyio.fail_after(20):
            while True:
                for message in await self.slack.messages(channel):
                    if says in json.dumps(message):
                        return message
                await self.slack.next_call()

    async def write(self, name: str, text: str) -> None:
        """Change a policy file, and have it in force."""
        (self.folder / "policies" / f"{name}.yaml").write_text(text)
        await self.broker.policies.load()


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
        toys = {toy.name: toy for toy in (make(folder) for make in FLEET)}
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
        run = await rooms.enter_async_context(running(_settings(store, slack, folder, issuer)))
        slack.deliver = run.url
        http = await rooms.enter_async_context(httpx2.AsyncClient(timeout=20, verify=False))
        yield Bench(run, issuer, toys, slack, folder, http)


def _settings(store: str, slack: SlackFront, folder: Path, issuer: Provider) -> Settings:
    bundle, port = folder / "bundle.json", free_port()
    keys = [key.as_dict(private=False) | {"use": "jwt-svid"} for key in issuer.keys]
    bundle.write_text(json.dumps({"keys": keys}))
    return Settings(
        redis_url=store, policies=folder / "policies", data=folder / "data", port=port, public_url=f"http://127.0.0.1:{port}",
        oauth_issuers=(
            TokenIssuer(issuer=issuer.url, surface_claim="surface", conversation_claim="conversation"),
            TokenIssuer(issuer="spire", trust_domain="example.com", jwks_file=bundle, audiences=("broker",)),
        ),
        trusted_proxies=(f"{PROXY}/32",), registry_read="filtered", registry_namespace="com.example",
        review_groups={slot: (slot,) for slot in SLOTS}, enrol_networks=("127.0.0.0/8",),
        probe_every=timedelta(seconds=0.3), observers=("approvers",), slack_bot_token="xoxb-test",
        slack_signing_secret=slack.secret, slack_url=slack.url, slack_answers=slack.answers,
    )  # fmt: skip
