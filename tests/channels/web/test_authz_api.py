"""`POST /api/authz/check`: the answer is what the broker enforces, nothing is kept, and others are only their own business."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import httpx2
import pytest
from redis import Redis

from broker.approvals.brakes import Brakes
from broker.approvals.forecast import Forecaster
from broker.approvals.stops import Stop, Stops
from broker.domain.calls import Caller, ToolCall
from broker.domain.servers import SeenTool, ToolDefinition
from broker.errors import UpstreamUntouched
from broker.identity.access_tokens import AccessTokens
from broker.identity.agents import AgentTokens
from broker.identity.callers import Callers
from broker.identity.people import Scope
from broker.policy.evaluate import counters_for
from broker.policy.load import compose
from broker.policy.model import Problem
from broker.store.open import Store
from tests.channels.web.conftest import Site, served

ANN, FIN, EVE, SAM = (f"{name}@example.com" for name in ("ann", "fin", "eve", "sam"))
RULES = f"""
defaults: {{unmatched: deny, approval: {{all_of: [{{group: approvers}}]}}}}
groups: {{ads-eng: [{ANN}], finance: [{FIN}], approvers: [{SAM}]}}
servers:
  presto:
    url: http://127.0.0.1:1/mcp
    tools: {{list_tables: {{read_only: true}}, run_query: {{}}, get_revenue_metrics: {{}}, overwrite_table: {{}}}}
  spark: {{url: "http://127.0.0.1:1/mcp", tools: {{diagnose_job: {{read_only: true}}}}}}
  away: {{url: "http://127.0.0.1:1/mcp", tools: {{x: {{}}}}}}
counters: {{gigabytes: {{window: 24h, key: [caller], match: {{tool: run_query}}, sum: args.gb}}}}
rules:
  - {{id: lists, match: {{tool: list_tables, groups_any: [ads-eng, finance]}}, effect: allow}}
  - {{id: revenue, match: {{tool: get_revenue_metrics, groups_any: [ads-eng]}}, effect: allow}}
  - {{id: cheap, match: {{tool: run_query, groups_any: [ads-eng]}}, effect: allow,
      when: counters.gigabytes + double(args.gb) <= 100.0}}
  - {{id: dear, match: {{tool: run_query, groups_any: [ads-eng]}}, when: counters.gigabytes + double(args.gb) > 100.0,
      effect: require_approval}}
  - {{id: overwrite, title: "Overwrite {{args.table}}", match: {{tool: overwrite_table, groups_any: [ads-eng]}},
      effect: require_approval}}
  - {{id: airflow, match: {{server: spark, surfaces: [support-bot], conversations: [C0AIRFLOW]}}, effect: allow}}
"""


class Policies:
    current = compose({"rules.yaml": RULES.encode()})
    problems: tuple[Problem, ...] = ()


class Known:
    """Every tool of the policy is known, and `away` can't be asked."""

    async def look(self, server: str, tool: str, *, fresh: bool = False) -> SeenTool:
        if server == "away":
            raise UpstreamUntouched("the server does not answer")
        schema = {"type": "object", "properties": {"gb": {"type": "number"}}}
        definition = ToolDefinition(server, tool, {"name": tool, "inputSchema": schema})
        return SeenTool(tool in Policies.current.servers[server].tools, definition)


async def offered(server: str) -> tuple[str, ...]:
    return ("new_tool",)


@dataclass
class Office:
    """The API, with tokens for whoever asks."""

    site: Site
    agents: AgentTokens
    stops: Stops
    store: Store

    async def person(self, name: str, *scopes: Scope) -> str:
        return await self.site.tokens.add(name, scopes=scopes or (Scope.READ,), lasts=timedelta(days=1))

    async def agent(self, user: str, **more: Any) -> str:
        return await self.agents.add("bot", owner=user, lasts=timedelta(days=1), user=user, **more)

    async def ask(self, by: str, /, **question: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {by}"} if by else {}
        return await self.site.stranger().post("/api/authz/check", json=question, headers=headers)

    async def said(self, by: str, /, **question: Any) -> Any:
        answer = await self.ask(by, **question)
        assert answer.status_code == 200, answer.text
        return answer.json()


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def office(store: Store) -> AsyncIterator[Office]:
    agents, stops = AgentTokens(store.credentials, clock=clock), Stops(store.stops)
    forecasts = Forecaster(Policies(), Known(), store.counters, offered, clock=clock, brakes=Brakes(stops))
    callers = Callers(agents, AccessTokens((), base="", clock=clock))
    async with served(store, policies=Policies(), forecasts=forecasts, callers=callers.authenticate) as site:
        yield Office(site, agents, stops, store)


TABLE = [
    (ANN, "list_tables", "allow"),
    (FIN, "list_tables", "allow"),
    (EVE, "list_tables", "deny"),
    (ANN, "get_revenue_metrics", "allow"),
    (FIN, "get_revenue_metrics", "deny"),
    (EVE, "get_revenue_metrics", "deny"),
    (ANN, "overwrite_table", "needs_approval"),
    (FIN, "overwrite_table", "deny"),
    (ANN, "run_query", "depends"),
    (ANN, "unheard_of", "deny"),
]


async def test_a_service_asks_whether_a_user_may_use_a_tool(office: Office) -> None:
    service = await office.person("svc@example.com", Scope.AUTHZ)
    for user, tool, decision in TABLE:
        assert (await office.said(service, user=user, server="presto", tool=tool))["decision"] == decision, (user, tool)


async def test_an_answer_carries_rules_reasons_and_who_would_be_asked(office: Office) -> None:
    ann = await office.person(ANN)
    answer = await office.said(ann, server="presto", tool="overwrite_table", arguments={"table": "sales"})
    assert answer == {
        "decision": "needs_approval",
        "possible": ["needs_approval"],
        "rules": ["overwrite"],
        "reasons": [{"rule": "overwrite", "text": "Overwrite sales"}],
        "groups": ["approvers"],
        "policy": Policies.current.digest,
    }
    depends = await office.said(ann, server="presto", tool="run_query")
    assert (depends["decision"], depends["possible"]) == ("depends", ["allow", "needs_approval", "deny"])


async def test_of_a_server_every_tool_is_told(office: Office) -> None:
    eve, fin = (
        await office.said(await office.person(EVE), server="presto"),
        await office.said(await office.person(FIN), server="presto"),
    )
    assert (eve["decision"], {one["decision"] for one in eve["tools"].values()}) == ("deny", {"deny"})
    assert fin["decision"] == "depends"
    assert {tool for tool, one in fin["tools"].items() if one["decision"] == "allow"} == {"list_tables"}
    assert "new_tool" in fin["tools"]
    assert (await office.said(await office.person(FIN), server="nowhere"))["decision"] == "deny"


async def test_an_agents_token_asks_about_the_agent_and_its_servers(office: Office) -> None:
    token = await office.agent(ANN, servers=("spark",), surface="support-bot")
    assert (await office.said(token, server="presto", tool="list_tables"))["decision"] == "deny"
    free = await office.agent(ANN)
    assert (await office.said(free, server="presto", tool="list_tables"))["decision"] == "allow"
    asker = await office.person("svc@example.com", Scope.AUTHZ)
    assert (await office.said(asker, token=free, server="presto", tool="list_tables"))["decision"] == "allow"
    await office.stops.stop(Stop("bot", SAM, "it ran wild", clock()))
    stopped = await office.said(asker, token=free, server="presto", tool="list_tables")
    assert (stopped["decision"], stopped["rules"]) == ("deny", ["stopped"])


async def test_a_surface_can_be_supposed_and_counts_for_the_answer_only(office: Office) -> None:
    asker = await office.person("svc@example.com", Scope.AUTHZ)
    there = {"server": "spark", "tool": "diagnose_job", "user": ANN, "surface": "support-bot"}
    assert (await office.said(asker, **there, conversation="C0AIRFLOW"))["decision"] == "allow"
    assert (await office.said(asker, **there, conversation="C0RANDOM"))["decision"] == "deny"


OTHERS: list[dict[str, str]] = [
    {"user": ANN}, {"token": "abt_something"}, {"surface": "support-bot"}, {"conversation": "C0AIRFLOW"},
]  # fmt: skip


async def test_about_others_asks_only_who_has_the_scope(office: Office) -> None:
    tokens = await office.person(FIN, Scope.READ, Scope.REVIEW), await office.agent(FIN)
    for token, about in product(tokens, OTHERS):
        answer = await office.ask(token, server="presto", tool="list_tables", **about)
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
        assert (answer.json()["code"], answer.json()["scope"]) == ("forbidden", "authz")


async def test_nobody_asks_without_a_good_token(office: Office) -> None:
    for token in ("", "nonsense", "abp_" + "0" * 40):
        answer = await office.ask(token, server="presto", tool="list_tables")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


NONSENSE: list[dict[str, Any]] = [
    {}, {"server": "presto", "arguments": {}}, {"server": "presto", "user": ANN, "token": "x"}, {"server": "presto", "no": 1},
]  # fmt: skip


async def test_a_question_that_makes_no_sense_is_refused(office: Office) -> None:
    service = await office.person("svc@example.com", Scope.AUTHZ)
    for question in NONSENSE:
        answer = await office.ask(service, **question)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_server_that_cant_be_asked_is_denied(office: Office) -> None:
    answer = await office.said(await office.person(ANN), server="away", tool="x")
    assert (answer["decision"], answer["rules"]) == ("deny", ["unreachable"])


async def spend(office: Office, gigabytes: float) -> None:
    """Let a call of ann's have used so much."""
    call = ToolCall("presto", "run_query", {"name": "run_query", "arguments": {"gb": gigabytes}}, Caller(user=ANN))
    await office.store.counters.reserve("earlier", counters_for(Policies.current, call))


async def test_ones_own_counters_count_and_asking_adds_nothing(office: Office) -> None:
    await spend(office, 90)
    ann, question = await office.person(ANN), {"server": "presto", "tool": "run_query"}
    for _ in range(3):
        assert (await office.said(ann, **question, arguments={"gb": 5}))["decision"] == "allow"
    assert (await office.said(ann, **question, arguments={"gb": 20}))["rules"] == ["dear"]


async def test_what_others_have_spent_cant_be_found_out(office: Office) -> None:
    asker = await office.person("svc@example.com", Scope.AUTHZ)
    question = {"user": ANN, "server": "presto", "tool": "run_query", "arguments": {"gb": 5}}
    before = await office.said(asker, **question)
    await spend(office, 97)
    after = await office.said(asker, **question)
    assert before == after
    assert before["decision"] == "needs_approval"


async def test_asking_changes_nothing_in_the_store(office: Office) -> None:
    ann = await office.person(ANN)
    await spend(office, 90)
    redis = Redis.from_url(office.store.url)

    async def state() -> tuple[dict[bytes, Any], int]:
        return {key: redis.dump(key) for key in redis.keys("*")}, await office.store.audit.last()

    before = await state()
    for question in ({}, {"tool": "run_query"}, {"tool": "run_query", "arguments": {"gb": 50}}, {"tool": "overwrite_table"}):
        await office.said(ann, server="presto", **question)
    assert await state() == before
