"""The registry: one place that says which servers there are, whose they are, and whether they may be used."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.domain.calls import digest_of
from tests.company.bench import Bench
from tests.company.enrolling import accepted, another, document, enrolled, pressed, published, review, submitted, until_listed
from tests.company.files import ANN, EVE, FIN, OLGA, SAM, SLOTS, servers
from tests.gateway.wire import modern

GOVERNANCE = "approval-broker/governance"


async def told(bench: Bench, name: str, who: str = SAM) -> dict[str, Any]:
    """What the API tells somebody of a server, as it was published last."""
    answer = await bench.api(who, "GET", f"/v0.1/servers/com.example/{name}/versions/latest")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def shown(bench: Bench, path: str, who: str = SAM) -> str:
    """The text of a page, in one line and without its marks."""
    async with bench.visitor(who) as page:
        text = re.sub(r"<script.*?</script>|<[^>]+>", " ", (await page.get(path)).text, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


async def test_what_the_page_shows_of_a_server_is_what_the_api_tells(bench: Bench) -> None:
    async with another(bench, "team-both") as toy:
        await enrolled(bench, toy, groups=["approvers"])
        with anyio.fail_after(10):
            while (await told(bench, "team-both"))["_meta"][GOVERNANCE]["live"]["state"] != "up":  # noqa: ASYNC110 - it is asked soon
                await anyio.sleep(0.05)
        api, page = await told(bench, "team-both"), await shown(bench, "/servers/team-both")
    governance = api["_meta"][GOVERNANCE]
    reviews = {slot: one["by"] for slot, one in governance["reviews"].items()}
    assert {
        "name": api["server"]["name"], "version": api["server"]["version"], "description": api["server"]["description"],
        "lifecycle": governance["lifecycle"], "owner": governance["owner"], "support": governance["support"],
        "groups": governance["allowedGroups"], "reviews": reviews, "sign-in": governance["signIn"],
        "tools": [(tool["name"], tool["minutesSaved"]) for tool in governance["tools"]], "live": governance["live"]["state"],
    } == {
        "name": "com.example/team-both", "version": "1.0.0", "description": "Refunds and payouts", "lifecycle": "approved",
        "owner": {"team": "Payments", "group": "data-platform"}, "support": ["slack:#payments-help"],
        "groups": {"approvers": ["*"]}, "sign-in": "any", "tools": [("search", 4)], "live": "up",
        "reviews": {word: f"{slot}@example.com" for word, slot in zip(("security", "legalPrivacy", "genai"), SLOTS, strict=True)},
    }  # fmt: skip
    for said in (
        "com.example/team-both 1.0.0", "Refunds and payouts", "Approved", "Payments (group data-platform)", "#payments-help",
        "approvers", "security@example.com", "legal_privacy@example.com", "genai@example.com",
        "services and agents may call alone", "search", "saves 4 min", "Up", f"{bench.url}/mcp/team-both",
    ):  # fmt: skip
        assert said in page, said
    assert api["server"]["remotes"] == [{"type": "streamable-http", "url": f"{bench.url}/mcp/team-both"}]
    assert toy.url not in str(api) + page


async def test_a_search_finds_one_server_and_filters_narrow_the_list(bench: Bench) -> None:
    async with bench.visitor(SAM) as page:

        async def rows(**query: str) -> list[str]:
            return re.findall(r'<h2><a href="/servers/([^"]+)"', (await page.get("/servers", params=query)).text)

        assert await rows(q="presto") == ["presto"]
        assert {"presto", "spark", "knowledge"} <= set(await rows())
        assert {"presto", "spark", "knowledge"} <= set(await rows(state="declared", health="fine"))
        assert await rows(state="retired", q="presto") == []


async def test_a_server_without_an_owner_is_not_taken_and_the_page_names_the_team_of_one_that_has(bench: Bench) -> None:
    async with another(bench, "team-owned") as toy:
        refused = await published(bench, toy, owner=None)
        assert (refused.status_code, "owner" in refused.json()["error"]) == (400, True)
        async with bench.visitor(OLGA) as page:
            answer = await pressed(page, "/enrol", {"document": json.dumps(document(toy, owner=None))})
            assert (answer.status_code, "owner" in answer.text) == (422, True)
        await enrolled(bench, toy, team="Data Platform")
        assert "owner Data Platform" in await shown(bench, "/servers/team-owned", OLGA)


async def test_the_page_leads_to_the_support_channel_and_so_does_the_card_that_asks(bench: Bench) -> None:
    assert "support #data-help" in await shown(bench, "/servers/presto")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.call, bench.token(), "presto", "overwrite_table", {"table": "support", "rows": 1})
        assert "#data-help" in str(await bench.card("Overwrite support"))
        async with bench.person() as sam:
            await sam.reject(await sam.titled("Overwrite support"), "only a look")


async def test_the_page_says_what_is_not_reviewed_yet_and_who_reviewed_the_rest_and_when(bench: Bench) -> None:
    async with another(bench, "team-posture") as toy:
        assert (await published(bench, toy)).status_code == 200
        await submitted(bench, "team-posture")
        for slot in ("security", "genai"):
            assert (await review(bench, "team-posture", slot)).status_code == 200
        page = await shown(bench, "/servers/team-posture", "security@example.com")
        assert "Not approved: legal and privacy" in page
        for said in ("Approved Security by security@example.com, just now", "Pending Legal and privacy"):
            assert said in page, said
        assert (await review(bench, "team-posture", "legal_privacy")).status_code == 200
        page = await shown(bench, "/servers/team-posture", "security@example.com")
    assert "Not approved" not in page
    for said in ("groups ads-eng", "sign-in services and agents may call alone", "In force is number 1, version 1.0.0, since"):
        assert said in page, said
    asked = re.search(r"People are asked about ([^.]+)\.", await shown(bench, "/servers/presto"))
    assert asked is not None
    assert set(asked[1].replace(" ", "").split(",")) == {"overwrite_table", "run_query"}


async def test_a_tool_that_is_new_upstream_is_hidden_and_stopped_until_somebody_has_looked_at_it(bench: Bench) -> None:
    toy, token = bench.toys["knowledge"], bench.token()

    def forget(topic: str) -> str:
        """Forget a topic."""
        return toy.write("forget", topic=topic)

    toy.server.add_tool(forget)
    try:
        with anyio.fail_after(10):
            while "New: nobody has accepted it" not in await shown(bench, "/servers/knowledge"):  # noqa: ASYNC110 - it is asked soon
                await anyio.sleep(0.05)
        assert "forget" not in await bench.listed(token, "knowledge")
        denied = (await bench.call(token, "knowledge", "forget", {"topic": "all"})).json()["result"]
        assert (denied["_meta"]["approval-broker/code"], toy.count("forget", topic="all")) == ("denied", 0)
        await accepted(bench, "knowledge", "forget", "security@example.com")
        await until_listed(bench, token, "knowledge", "forget")
        await bench.call(token, "knowledge", "forget", {"topic": "all"})
        assert toy.count("forget", topic="all") == 1
    finally:
        toy.server.remove_tool("forget")


# -- programs ask ---------------------------------------------------------------------------------------------


async def valid(bench: Bench, name: str, who: str = ANN, **configured: Any) -> tuple[bool, str]:
    head = {"authorization": f"Bearer {bench.token(who)}"}
    answer = await bench.http.post(f"{bench.url}/api/validate", json={"name": f"com.example/{name}", **configured}, headers=head)
    assert answer.status_code == 200, answer.text
    return answer.json()["valid"], answer.json()["reason"]


async def tool_digest(bench: Bench, server: str, tool: str) -> str:
    """What a client reckons of a tool as it was shown."""
    listed = (await bench.ask(bench.token(), server, modern("tools/list"))).json()["result"]["tools"]
    return digest_of({key: value for one in listed if one["name"] == tool for key, value in one.items() if key != "_meta"})


async def test_a_client_learns_whether_what_it_has_configured_is_what_was_approved_and_if_not_why(bench: Bench) -> None:
    fine, unknown = (True, ""), (False, "this server or version is not approved here")
    async with another(bench, "team-valid") as toy:
        assert (await published(bench, toy)).status_code == 200
        assert await valid(bench, "team-valid") == unknown
        assert await valid(bench, "team-valid", OLGA) == (False, "the server is not approved: experiment")
        await submitted(bench, "team-valid")
        for slot in SLOTS:
            await review(bench, "team-valid", slot)
        await until_listed(bench, bench.token(), "team-valid")
        url, digest = f"{bench.url}/mcp/team-valid", await tool_digest(bench, "team-valid", "search")
        assert await valid(bench, "team-valid", url=url, version="1.0.0", tools={"search": digest}) == fine
        assert await valid(bench, "team-valid", url=toy.url) == (False, f"the address of this server is {url}")
        assert await valid(bench, "team-valid", version="2.0.0") == (False, "there is no version 2.0.0 here")
        assert await valid(bench, "team-valid", tools={"search": "sha256:0"}) == (
            False,
            "the tool search is not what was accepted",
        )
        assert await valid(bench, "team-valid", tools={"x": digest}) == (False, "nobody has accepted the tool x")
        assert await valid(bench, "team-valid", EVE) == unknown  # it is not for her: she can't learn that it is there
        path = "/v0.1/servers/com.example/team-valid/versions/1.0.0/status"
        marked = await bench.api(OLGA, "PATCH", path, {"status": "deleted", "statusMessage": "it leaked"})
        assert marked.status_code == 200, marked.text
        assert await valid(bench, "team-valid", url=url) == (False, "this version is deleted: it leaked")
        retired = await bench.api(OLGA, "POST", "/api/v1/servers/com.example/team-valid/retire", {"why": "replaced"})
        assert retired.status_code == 200
        assert await valid(bench, "team-valid", url=url) == (False, "the server is not approved: retired")
    assert await valid(bench, "unheard") == unknown


async def test_a_server_that_files_declare_is_valid_at_the_brokers_address_and_no_other(bench: Bench) -> None:
    url = f"{bench.url}/mcp/presto"
    assert await valid(bench, "presto", url=url) == (True, "")
    assert await valid(bench, "presto", url=bench.toys["presto"].url) == (False, f"the address of this server is {url}")
    assert await valid(bench, "presto", EVE) == (False, "this server or version is not approved here")
    assert (await bench.http.post(f"{bench.url}/api/validate", json={"name": "com.example/presto"})).status_code == 401


async def test_one_token_works_from_a_shell_a_browser_and_an_sdk(bench: Bench) -> None:
    token, url = bench.token(), f"{bench.url}/v0.1/servers"
    command = ["curl", "-s", "-H", f"Authorization: Bearer {token}", url]
    by_shell = await anyio.to_thread.run_sync(lambda: subprocess.run(command, capture_output=True, check=True, timeout=20))
    origin = {"origin": "https://chat.example.com"}
    asked = origin | {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    preflight = await bench.http.request("OPTIONS", url, headers=asked)
    allowed = {name: preflight.headers[f"access-control-allow-{name}"] for name in ("origin", "methods", "headers")}
    assert (preflight.status_code, allowed) == (
        204, {"origin": "*", "methods": "GET, OPTIONS", "headers": "Authorization, Content-Type"},
    )  # fmt: skip
    by_browser = await bench.http.get(url, headers=origin | {"authorization": f"Bearer {token}"})
    assert by_browser.headers["access-control-allow-origin"] == "*"
    names = [one["server"]["name"] for one in by_browser.json()["servers"]]
    assert {"com.example/presto", "com.example/spark", "com.example/knowledge"} <= set(names)
    assert [one["server"]["name"] for one in json.loads(by_shell.stdout)["servers"]] == names
    async with bench.client(token, "presto") as client:
        assert not (await client.call_tool("list_tables", {})).is_error
    described = (await bench.http.get(f"{bench.url}/api/v1/schema/openapi.json")).json()
    assert {"/v0.1/servers", "/api/validate", "/api/authz/check"} <= described["paths"].keys()


@pytest.mark.parametrize(("who", "missing"), [(ANN, set()), (FIN, set()), (EVE, {"presto"})])
async def test_the_registry_is_read_with_the_callers_own_token_and_tells_what_it_may_use(
    bench: Bench, who: str, missing: set[str]
) -> None:
    assert (await bench.http.get(f"{bench.url}/v0.1/servers")).status_code == 401
    head = {"authorization": f"Bearer {bench.token(who)}"}
    listed = (await bench.http.get(f"{bench.url}/v0.1/servers?limit=100", headers=head)).json()["servers"]
    found = {one["server"]["name"].removeprefix("com.example/") for one in listed}
    assert {"presto", "spark", "knowledge"} - found == missing


# -- experiments ----------------------------------------------------------------------------------------------


async def test_a_server_that_would_run_here_is_enrolled_by_nobody(bench: Bench) -> None:
    """Neither its page nor the API takes a command, whatever the server is meant to be."""
    packages = [{"registryType": "npm", "identifier": "some-server", "version": "1.0.0", "transport": {"type": "stdio"}}]
    async with another(bench, "team-local") as toy:
        for changed in ({"packages": packages}, {"packages": packages, "remotes": None}, {"command": ["some-server"]}):
            refused = await published(bench, toy, **changed)
            assert refused.status_code == 400, changed
            async with bench.visitor(OLGA) as page:
                answer = await pressed(page, "/enrol", {"document": json.dumps(document(toy, **changed))})
            assert answer.status_code == 422, changed
        assert (await bench.call(bench.token(OLGA), "team-local", "search", {})).status_code == 404


async def test_a_local_program_is_its_owners_experiment_and_the_page_says_so(bench: Bench) -> None:
    effects = bench.folder / "local.jsonl"
    program = {
        "command": [sys.executable, "-m", "tests.fakes.ledger_server", str(effects), "stdio"],
        "cwd": str(Path(__file__).parents[2]),
        "experiment": True, "groups": ["data-platform"], "owner": {"team": "Data Platform", "contact": "slack:#data-help"},
        "tools": {"transfer": {"read_only": False}},
    }  # fmt: skip
    held = servers(bench.toys, bench.folder / "presto-secret")
    for wrong in ({"groups": None}, {"groups": ["*"]}):
        entry = {key: value for key, value in (program | wrong).items() if value is not None}
        told = await bench.problems(servers=json.dumps({"servers": held | {"exp-local": entry}}))
        assert "`exp-local` is an experiment that is open to everybody" in told
    arguments = {"to": "olga", "amount": 1}
    async with bench.changed(servers=json.dumps({"servers": held | {"exp-local": program}})):
        assert await bench.fate(bench.token(OLGA), "exp-local", "transfer", arguments) == "allow"
        for who in (ANN, FIN, EVE):
            assert (await bench.call(bench.token(who), "exp-local", "transfer", arguments)).status_code == 403
        page = await shown(bench, "/servers/exp-local", OLGA)
        for said in ("Experiment", "only members of data-platform may call it", "It runs on the broker's own machine."):
            assert said in page, said
        assert await valid(bench, "exp-local", OLGA) == (False, "the server is not approved: experiment")
    assert [json.loads(line) for line in effects.read_text().splitlines()] == [arguments]
