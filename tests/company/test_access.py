"""Who may use what: one judgement for lists, questions beforehand and calls, in layers of which each would do alone."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.events import CallDecided
from tests.company.bench import Bench
from tests.company.enrolling import another, enrolled, published, review, submitted, until_listed
from tests.company.files import AIRFLOW, ANN, EVE, FIN, OLGA, PROXY, RULES, SLOTS, SVC, servers
from tests.gateway.wire import begun, legacy, modern, request

ARGUMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("presto", "list_tables"): {}, ("presto", "run_query"): {"sql": "select 1"}, ("presto", "status"): {},
    ("presto", "get_revenue_metrics"): {"quarter": "Q3"}, ("presto", "overwrite_table"): {"table": "fate", "rows": 0},
    ("spark", "diagnose_job"): {"job": "j"}, ("spark", "record_rca"): {"job": "j", "cause": "c"},
    ("knowledge", "search"): {"question": "q"},
}  # fmt: skip
BOT = {"surface": "support-bot", "conversation": AIRFLOW}


async def foreseen(bench: Bench, who: str, server: str, tool: str, **supposed: Any) -> dict[str, Any]:
    """What an internal service hears that asks before an agent calls."""
    asked = {"user": who, "server": server, "tool": tool, **supposed}
    answer = await bench.api("portal@example.com", "POST", "/api/authz/check", asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("who", [ANN, FIN, EVE])
@pytest.mark.parametrize("place", [{}, BOT], ids=["anywhere", "in the channel"])
async def test_what_a_service_is_told_beforehand_is_what_the_broker_does_and_what_lists_show(
    bench: Bench, who: str, place: dict[str, str]
) -> None:
    token, told, done = bench.token(who, **place), {}, {}
    for (server, tool), arguments in ARGUMENTS.items():
        about = await foreseen(bench, who, server, tool, arguments=arguments, **place)
        assert about["decision"] != "deny" or about["reasons"] or about["rules"] == ["unmatched"]
        told[server, tool] = about["decision"]
        mine = arguments | ({"table": f"fate-{who}-{len(place)}"} if "table" in arguments else {})
        done[server, tool] = await bench.fate(token, server, tool, mine)
    assert told == done
    listed = {tuple(name.split("__")) for name in await bench.listed(token)}
    assert listed == {place for place, decision in told.items() if decision != "deny"} | (
        {("spark", "status")} if place else set()
    )


async def test_a_client_without_a_token_is_told_where_to_sign_in_and_lists_differ_by_user(bench: Bench) -> None:
    refused = await bench.ask("", "presto", modern("tools/list"))
    metadata = f"{bench.url}/.well-known/oauth-protected-resource/mcp/presto"
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, f'Bearer resource_metadata="{metadata}"')
    told = (await bench.http.get(metadata)).json()
    assert (told["resource"], told["authorization_servers"]) == (f"{bench.url}/mcp/presto", [bench.issuer.url])
    lists = {who: await bench.listed(bench.token(who)) for who in (ANN, FIN, EVE)}
    assert lists[EVE] < lists[FIN] < lists[ANN]
    for who, names in lists.items():
        for name in names:
            server, tool = name.split("__")
            assert (await foreseen(bench, who, server, tool))["decision"] != "deny"


async def test_an_unmodified_client_is_held_until_somebody_has_pressed_in_slack(bench: Bench, mode: str) -> None:
    table, toy, sam = f"slack-{mode}", bench.toys["presto"], await bench.slack.user("dana")
    found: list[Any] = []
    async with bench.client(bench.token(), "presto", mode, client_info=bench.me) as client:

        async def ask() -> None:
            found.append(await client.call_tool("overwrite_table", {"table": table, "rows": 7}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            card = await bench.card(f"Overwrite {table}")
            assert (found, toy.count("overwrite_table", table=table, rows=7, note="")) == ([], 0)
            await bench.slack.interact(await bench.slack.click("approvals", card["ts"], "approve", sam))
    assert (found[0].is_error, found[0].content[0].text) == (False, "presto.overwrite_table ran")
    assert toy.count("overwrite_table", table=table, rows=7, note="") == 1


async def test_tools_bound_to_a_channel_are_there_for_its_bot_alone_and_nobody_can_pretend(bench: Bench) -> None:
    there, elsewhere = bench.token(**BOT), bench.token(surface="support-bot", conversation="C0RANDOM")
    assert await bench.fate(there, "spark", "diagnose_job", {"job": "there"}) == "allow"
    assert {"diagnose_job", "record_rca"} <= await bench.listed(there, "spark")
    for token, head in (
        (elsewhere, {}), (bench.token(), {}), (bench.token(surface="ide", conversation=AIRFLOW), {}),
        (bench.token(), {"surface": "support-bot", "conversation": AIRFLOW, "x-slack-channel": AIRFLOW}),
    ):  # fmt: skip
        answer = await bench.call(token, "spark", "diagnose_job", {"job": "elsewhere"}, **head)
        assert answer.json()["result"]["_meta"]["approval-broker/code"] == "denied"
        assert "diagnose_job" not in await bench.listed(token, "spark")
    assert (
        bench.toys["spark"].count("diagnose_job", job="there"),
        bench.toys["spark"].count("diagnose_job", job="elsewhere"),
    ) == (1, 0)


async def test_the_audit_of_a_call_names_user_workload_agent_and_surface(bench: Bench) -> None:
    before = await bench.mark()
    token = bench.token(act={"sub": "spiffe://example.com/chat-webapp"}, surface="webapp", conversation="C1")
    await bench.call(token, "presto", "list_tables")
    [event] = [one for one in await bench.events(before) if isinstance(one, CallDecided)]
    caller = event.caller
    assert (caller.user, caller.workload, caller.agent) == (ANN, *["spiffe://example.com/chat-webapp"] * 2)
    assert (caller.surface, caller.conversation, caller.groups) == ("webapp", "C1", ("ads-eng",))


async def test_where_a_person_has_to_stand_behind_a_call_nobody_else_gets_in(bench: Bench) -> None:
    async with another(bench, "team-personal") as toy:
        await enrolled(bench, toy, groups=["*"], sign_in="person")
        await until_listed(bench, bench.token(), "team-personal")
        refused = await bench.call(bench.svid(), "team-personal", "search", {"question": "alone"})
        assert refused.status_code == 403
        assert "a person has to stand behind every call" in refused.text
        assert (await bench.call(bench.token(), "team-personal", "search", {"question": "mine"})).status_code == 200
        assert [one["question"] for one in toy.ran] == ["mine"]


async def from_proxy(bench: Bench, address: str, **headers: str) -> httpx2.Response:
    """List presto's tables from an address, with headers that a proxy would set."""
    transport = httpx2.AsyncHTTPTransport(local_address=address)
    async with httpx2.AsyncClient(transport=transport, timeout=20) as http:
        kept, bench.http = bench.http, http
        try:
            return await bench.call("", "presto", "list_tables", **headers)
        finally:
            bench.http = kept


async def test_headers_that_say_who_calls_count_from_the_proxy_alone(bench: Bench) -> None:
    said = {"x_forwarded_user": ANN, "x_forwarded_groups": "ads-eng"}
    assert (await from_proxy(bench, "127.0.0.1", **said)).status_code == 401
    before = await bench.mark()
    assert (await from_proxy(bench, PROXY, **said)).json()["result"]["isError"] is False
    [event] = [one for one in await bench.events(before) if isinstance(one, CallDecided)]
    assert (event.caller.user, event.caller.groups) == (ANN, ("ads-eng",))
    assert (await from_proxy(bench, PROXY, x_forwarded_user=EVE)).status_code == 403
    assert (await from_proxy(bench, PROXY)).status_code == 401


async def test_a_surface_may_speak_to_presto_and_not_to_experiments_and_no_experiment_hears_of_it(bench: Bench) -> None:
    webapp, ide = bench.token(surface="webapp"), bench.token(surface="ide")
    async with another(bench, "exp-tables") as toy:
        await enrolled(bench, toy)
        await until_listed(bench, ide, "exp-tables")
        assert await bench.fate(webapp, "presto", "list_tables", {}) == "allow"
        assert await bench.fate(webapp, "exp-tables", "search", {"question": "webapp"}) == "deny"
        assert [head for head in toy.heads if head.get("mcp-method") == "tools/call"] == []
        assert await bench.fate(ide, "exp-tables", "search", {"question": "ide"}) == "allow"
        assert [one["question"] for one in toy.ran] == ["ide"]


async def test_revenue_is_for_ads_eng_while_the_server_is_open_to_finance_too(bench: Bench) -> None:
    fates = {
        (who, tool): await bench.fate(bench.token(who), "presto", tool, ARGUMENTS["presto", tool])
        for who in (ANN, FIN) for tool in ("get_revenue_metrics", "list_tables")
    }  # fmt: skip
    assert fates == {
        (ANN, "get_revenue_metrics"): "allow", (FIN, "get_revenue_metrics"): "deny",
        (ANN, "list_tables"): "allow", (FIN, "list_tables"): "allow",
    }  # fmt: skip


async def test_a_group_reaches_its_part_of_a_server_and_who_has_left_it_nothing_at_the_next_request(bench: Bench) -> None:
    assert await bench.listed(bench.token(FIN), "presto") == {"list_tables", "run_query", "overwrite_table", "status"}
    assert "get_revenue_metrics" in await bench.listed(bench.token(ANN), "presto")
    left, url, listing = bench.token(FIN, groups=["former"]), f"{bench.url}/mcp/presto", request("tools/list", id=2)
    assert (await bench.call(left, "presto", "list_tables")).status_code == 403
    auth = {"authorization": f"Bearer {bench.token(FIN)}"}
    async with httpx2.AsyncClient(headers=auth, timeout=20) as http:
        session = await begun(http, url)
        assert (await legacy(http, url, listing, session)).status_code == 200
        after = await legacy(http, url, listing, session, authorization=f"Bearer {left}")
        assert (after.status_code, after.json()["error"]["message"]) == (403, "the server is for members of ads-eng, finance")


async def test_a_new_server_without_groups_is_its_owners_alone_and_stays_so_until_a_review_says_otherwise(bench: Bench) -> None:
    others = [bench.token(who) for who in (ANN, FIN, EVE)] + [bench.svid()]

    async def reached() -> list[int]:
        return [(await bench.call(token, "team-shut", "search", {"question": "x"})).status_code for token in others]

    async with another(bench, "team-shut") as toy:
        assert (await published(bench, toy, groups=[])).status_code == 200
        with anyio.fail_after(10):
            while (await bench.call(bench.token(OLGA), "team-shut", "search", {"question": "x"})).status_code != 200:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert await reached() == [403] * 4
        await submitted(bench, "team-shut")
        for slot in SLOTS:
            assert (await review(bench, "team-shut", slot)).status_code == 200
        assert set(await reached()) <= {403, 404}
        assert toy.ran == []


async def test_presto_in_one_more_surface_shows_nobody_more_of_the_revenue(bench: Bench) -> None:
    rule = "  - {id: presto-in-the-webapp, match: {server: presto, tool: list_tables, surfaces: [webapp]}, effect: allow}\n"

    async def access() -> dict[tuple[str, str], str]:
        return {
            (who, surface): (await foreseen(bench, who, "presto", "get_revenue_metrics", surface=surface))["decision"]
            for who in (ANN, FIN, EVE, OLGA) for surface in ("webapp", "ide")
        }  # fmt: skip

    before = await access()
    async with bench.changed(rules=RULES + rule):
        assert await access() == before


async def test_a_service_calls_what_only_reads_with_its_own_identity_and_a_foreign_one_nothing(bench: Bench) -> None:
    before = await bench.mark()
    assert await bench.fate(bench.svid(), "knowledge", "search", {"question": "by a service"}) == "allow"
    [event] = [one for one in await bench.events(before) if isinstance(one, CallDecided)]
    assert (event.caller.workload, event.caller.user) == (SVC, "")
    for subject in ("spiffe://elsewhere.example/nightly-report", "spiffe://Example.com/x", "nightly-report"):
        answer = await bench.call(bench.svid(subject), "knowledge", "search", {"question": "foreign"})
        assert answer.status_code == 401
    certificate = {"x_forwarded_client_cert": f"By=spiffe://example.com/envoy;URI={SVC}"}
    assert (await from_proxy(bench, "127.0.0.1", **certificate)).status_code == 401
    assert (await from_proxy(bench, PROXY, **certificate)).status_code == 403  # known, and presto is for two groups
    assert bench.toys["knowledge"].count("search", question="foreign") == 0


async def test_a_service_alone_never_writes_whatever_the_server_says_of_its_tool(bench: Bench) -> None:
    """presto claims that `overwrite_table` only reads, and everybody is let in here."""
    held = servers(bench.toys, bench.folder / "presto-secret")
    del held["presto"]["groups"]
    rule = '  - {id: services, match: {server: presto, workloads: ["spiffe://*"]}, effect: allow}\n'
    async with bench.changed(servers=json.dumps({"servers": held}), rules=RULES + rule):
        assert await bench.fate(bench.svid(), "presto", "list_tables", {}) == "allow"
        answer = await bench.call(bench.svid(), "presto", "overwrite_table", {"table": "by-svc", "rows": 1})
        assert "service_alone" in answer.text
    assert bench.toys["presto"].count("overwrite_table", table="by-svc", rows=1, note="") == 0


async def test_one_token_reaches_three_servers_which_see_the_user_and_never_the_token(bench: Bench) -> None:
    token = bench.token(**BOT)
    for toy in bench.toys.values():
        toy.heads.clear()
    async with bench.client(token) as client:
        for server, tool in (("presto", "list_tables"), ("spark", "diagnose_job"), ("knowledge", "search")):
            arguments = ARGUMENTS[server, tool]
            assert not (await client.call_tool(f"{server}__{tool}", arguments)).is_error
    for toy in bench.toys.values():
        assert token not in str(toy.heads)
    for name in ("presto", "spark"):
        assert bench.spoken_for(name) == {ANN}


async def test_a_servers_own_secret_reaches_it_and_appears_nowhere_else(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    presto = bench.toys["presto"]
    presto.heads.clear()
    await bench.call(bench.token(), "presto", "run_query", {"sql": "select secret"})
    assert {head["authorization"] for head in presto.heads} == {f"Bearer {presto.secret}"}
    async with bench.visitor(OLGA) as page:
        pages = [(await page.get(path)).text for path in ("/servers", "/servers/presto", "/health", "/policies", "/history")]
    told = [(await bench.api(OLGA, "GET", path)).text for path in ("/v0.1/servers", "/api/v1/requests")]
    shown = [*pages, *told, str(await bench.events()), (await bench.http.get(f"{bench.url}/metrics")).text, *capfd.readouterr()]
    assert [text for text in shown if presto.secret in text] == []


REVENUE = ("get_revenue_metrics", {"quarter": "by-eve"})
OPEN = RULES + "  - {id: careless, match: {server: presto}, effect: allow}\n"


@pytest.mark.parametrize("off", ["groups of the server", "rules", "both"])
async def test_with_any_layer_switched_off_the_next_one_still_keeps_eve_out(bench: Bench, off: str) -> None:
    held, files = servers(bench.toys, bench.folder / "presto-secret"), {}
    if off != "rules":
        del held["presto"]["groups"]
        files["servers"] = json.dumps({"servers": held})
    if off != "groups of the server":
        files["rules"] = OPEN
    async with bench.changed(**files):
        answer = await bench.call(bench.token(EVE), "presto", *REVENUE)
    by = {"groups of the server": "unmatched", "rules": "the server is for members of", "both": "not authorized: the policy"}
    assert by[off] in answer.text
    assert bench.toys["presto"].count("get_revenue_metrics", quarter="by-eve") == 0


async def test_the_decorator_of_a_tool_refuses_who_comes_around_the_broker_and_its_body_does_not_run(bench: Bench) -> None:
    async with bench.direct("presto") as eve:
        answer = await eve.call_tool("get_revenue_metrics", {"quarter": "direct"})
    assert (answer.is_error, "not authorized" in answer.content[0].text) == (True, True)
    assert bench.toys["presto"].count("get_revenue_metrics", quarter="direct") == 0
