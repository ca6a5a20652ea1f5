"""The official registry's API: its shapes, who reads what, publishing, and that no upstream address is ever told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.terms import Actor, Slot
from broker.policy.load import load
from broker.registry.official import GOVERNANCE
from broker.registry.official import OFFICIAL as META
from broker.registry.server_json import PUBLISHER
from broker.store.open import Store
from tests.channels.web.conftest import Site
from tests.channels.web.test_servers_page import with_servers
from tests.fakes.official_openapi import ERROR, LIST, RESPONSE, STATUSES, fits
from tests.fakes.server_json import server_json

OLGA, EVE, DANA = "olga@example.com", "eve@example.com", "dana@example.com"
FILES = {
    "people.yaml": "people: {}\ngroups: {payments: [olga@example.com], support: [eve@example.com], finance: [dana@example.com],"
    " security: [security@example.com], legal_privacy: [legal_privacy@example.com], genai: [genai@example.com]}\n",
    "servers.yaml": "servers: {files: {url: 'https://files.internal.example.com/mcp', owner: {team: Files, contact: 'slack:#f'},"
    " groups: [finance], tools: {read: {read_only: true}}}}\n",
    "rules.yaml": "defaults: {unmatched: allow, unknown_tool: deny}\nrules: []\n",
}
UPSTREAMS = ("payments.example.com/mcp", "files.internal.example.com")
NAME, LIST_ALL = "com.example/payments", "/v0.1/servers"


@asynccontextmanager
async def registry(store: Store, folder: Path, **parts: Any) -> AsyncIterator[Site]:
    async with with_servers(store, folder, FILES, registry=parts) as (site, toys, _):
        toys.offers |= {"payments@1.0.0": [{"name": "balance"}, {"name": "transfer"}]}
        yield site


async def approve(site: Site, name: str = NAME) -> None:
    """Let every slot's reviewer approve what they are shown."""
    reviewing = site.parts.registry.reviewing
    for slot in Slot:
        sheet = await reviewing.sheet(site.parts.registry.roster.enrolments[name])
        assert sheet is not None
        await reviewing.review(name, slot, "approved", Actor(f"{slot}@example.com", (slot.value,)), shown=sheet.digest)


async def owner(site: Site) -> httpx2.AsyncClient:
    return await site.api(OLGA, "read", "review", "servers")


async def test_a_published_server_is_its_owners_until_it_is_approved_and_then_everybodys(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        olga, eve = await owner(site), await site.api(EVE)
        told = fits(RESPONSE, (await olga.post("/v0.1/publish", json=server_json())).json())
        assert told["server"]["remotes"] == [{"type": "streamable-http", "url": f"{site.url}/mcp/payments"}]
        assert told["_meta"][GOVERNANCE]["lifecycle"] == "experiment"
        path = "/v0.1/servers/com.example%2Fpayments/versions/latest"
        assert fits(RESPONSE, (await olga.get(path)).json()) == told
        assert fits(ERROR, (await eve.get(path)).json()) == {"error": "there is no such server or version"}
        await site.parts.registry.enrolling.submit(NAME, Actor(OLGA, ("payments",)))
        await approve(site)
        seen = fits(RESPONSE, (await eve.get(path.replace("%2F", "/"))).json())
        governance = seen["_meta"][GOVERNANCE]
        assert (governance["lifecycle"], governance["inForce"], governance["allowedGroups"], governance["support"]) == (
            "approved", True, {"support": ["*"]}, ["slack:#payments-help"],
        )  # fmt: skip
        assert {slot: review["by"] for slot, review in governance["reviews"].items()} == {
            "security": "security@example.com", "legalPrivacy": "legal_privacy@example.com", "genai": "genai@example.com",
        }  # fmt: skip
        pins = await site.parts.accepted.of("payments")
        assert {name: pin.by for name, pin in pins.items()} == dict.fromkeys(("balance", "transfer"), "genai@example.com")


async def test_every_list_fits_the_openapi_text_and_tells_no_upstream_address(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        olga = await owner(site)
        extras = {PUBLISHER: {**server_json()["_meta"][PUBLISHER], "where": "https://payments.example.com/mcp"}}
        await olga.post("/v0.1/publish", json=server_json(_meta=extras))
        await olga.post("/v0.1/publish", json=server_json(version="1.1.0-rc.1"))
        await olga.post("/v0.1/publish", json=server_json(version="1.0.1"))
        security = await site.api("security@example.com")
        for client in (olga, security):
            answer = await client.get(LIST_ALL)
            told = fits(LIST, answer.json())
            assert [(one["server"]["name"], one["_meta"][META]["isLatest"]) for one in told["servers"]] == [
                (NAME, False), (NAME, True), (NAME, False), ("local.servers/files", True),
            ]  # fmt: skip
            assert [upstream for upstream in UPSTREAMS if upstream in answer.text] == []
        versions = fits(LIST, (await olga.get("/v0.1/servers/com.example%2Fpayments/versions")).json())
        assert [one["server"]["version"] for one in versions["servers"]] == ["1.0.1", "1.1.0-rc.1", "1.0.0"]
        latest = fits(LIST, (await olga.get(LIST_ALL, params={"version": "latest", "search": "PAY"})).json())
        assert [one["server"]["version"] for one in latest["servers"]] == ["1.1.0-rc.1"]
        page = fits(LIST, (await olga.get(LIST_ALL, params={"limit": 3})).json())
        rest = fits(LIST, (await olga.get(LIST_ALL, params={"limit": 3, "cursor": page["metadata"]["nextCursor"]})).json())
        assert (page["metadata"]["count"], [one["server"]["name"] for one in rest["servers"]]) == (3, ["local.servers/files"])


async def test_a_version_is_deprecated_and_deleted_by_its_status_and_never_replaced(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        olga = await owner(site)
        for version in ("1.0.0", "1.1.0+2013"):
            await olga.post("/v0.1/publish", json=server_json(version=version))
        one = "/v0.1/servers/com.example%2Fpayments/versions/1.1.0%2B2013"
        told = (await olga.patch(f"{one}/status", json={"status": "deprecated", "statusMessage": "use 2"})).json()
        assert fits(RESPONSE, told)["_meta"][META]["statusMessage"] == "use 2"
        assert (await olga.patch(f"{one}/status", json={"status": "deprecated", "statusMessage": "use 2"})).status_code == 400
        assert (await olga.patch(f"{one}/status", json={"status": "gone"})).status_code == 400
        assert (await olga.patch(f"{one}/status", json={"status": "active", "statusMessage": "no"})).status_code == 400
        both = fits(STATUSES, (await olga.patch("/v0.1/servers/com.example/payments/status", json={"status": "deleted"})).json())
        assert both["updatedCount"] == 2
        assert [one["server"]["name"] for one in (await olga.get(LIST_ALL)).json()["servers"]] == ["local.servers/files"]
        assert len((await olga.get(LIST_ALL, params={"include_deleted": "true"})).json()["servers"]) == 3
        since = both["servers"][0]["_meta"][META]["updatedAt"]
        assert (await olga.get(LIST_ALL, params={"updated_since": since, "search": "payments"})).json()["servers"] == []
        assert (await olga.get(one)).status_code == 404
        await olga.patch(f"{one}/status", json={"status": "active"})
        assert fits(RESPONSE, (await olga.get(one)).json())["_meta"][META]["status"] == "active"
        changed = (await olga.get(LIST_ALL, params={"updated_since": since, "search": "payments"})).json()["servers"]
        assert [item["_meta"][META]["status"] for item in changed] == ["deleted", "active"]
        assert [(await olga.request(method, one, json={})).status_code for method in ("PUT", "DELETE")] == [501, 501]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"version": "^1.2"}, "range"), ({"description": "x" * 101}, "description"), ({"owner": None}, "owner"),
        ({"packages": [{"registryType": "npm", "identifier": "x", "transport": {"type": "stdio"}}]}, "packages"),
        ({"_meta": {PUBLISHER: {"x": "y" * 4097}}}, "4096"), ({"name": "payments"}, "name"),
        ({"url": "file:///etc/passwd"}, "url"),
    ],
)  # fmt: skip
async def test_what_is_not_taken_is_said_with_400(store: Store, tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    async with registry(store, tmp_path) as site:
        answer = await (await owner(site)).post("/v0.1/publish", json=server_json(**changed))
        assert (answer.status_code, why in fits(ERROR, answer.json())["error"]) == (400, True), answer.text
        assert site.parts.registry.roster.enrolments == {}


async def test_clients_of_other_origins_may_read_and_their_preflight_is_answered(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path, read="anonymous") as site:
        stranger = site.stranger()
        version = f"{LIST_ALL}/com.example%2Fpayments/versions"
        origin = {"origin": "vscode-file://vscode-app", "access-control-request-method": "GET"}
        for path in (LIST_ALL, version, f"{version}/latest"):
            for answer in (await stranger.get(path, headers=origin), await stranger.options(path, headers=origin)):
                assert answer.headers["access-control-allow-origin"] == "*", path
                assert answer.headers["access-control-allow-methods"] == "GET, OPTIONS"
                assert answer.headers["access-control-allow-headers"] == "Authorization, Content-Type"
        assert (await stranger.options(LIST_ALL)).status_code == 204


async def test_who_reads_is_a_setting(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        await (await owner(site)).post("/v0.1/publish", json=server_json())
        await site.parts.registry.enrolling.submit(NAME, Actor(OLGA, ("payments",)))
        await approve(site)
        assert fits(ERROR, (await site.stranger().get(LIST_ALL)).json())
        assert await names(await site.api(DANA)) == [NAME, "local.servers/files"]
    async with registry(store, tmp_path, read="anonymous") as site:
        told = (await site.stranger().get(LIST_ALL)).json()
        assert [one["server"]["name"] for one in told["servers"]] == [NAME, "local.servers/files"]
        assert [("by" in str(one), "allowedGroups" in str(one)) for one in told["servers"]] == [(False, False)] * 2
        bad = await site.stranger().get(LIST_ALL, headers={"authorization": "Bearer nonsense"})
        assert bad.status_code == 401
    async with registry(store, tmp_path, read="filtered") as site:
        assert await names(await site.api(EVE)) == [NAME]
        assert await names(await site.api(DANA)) == ["local.servers/files"]
        assert await names(await site.api("nobody@example.com")) == []


async def names(client: httpx2.AsyncClient) -> list[str]:
    return [one["server"]["name"] for one in (await client.get(LIST_ALL)).json()["servers"]]


async def test_who_copies_the_list_hears_that_a_suspended_server_is_gone_and_comes_back(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        await (await owner(site)).post("/v0.1/publish", json=server_json())
        await site.parts.registry.enrolling.submit(NAME, Actor(OLGA, ("payments",)))
        await approve(site)
        eve, since = await site.api(EVE), "2026-01-01T00:00:00Z"
        for move, status in (("suspend", "deleted"), ("resume", "active")):
            by = Actor("security@example.com", ("security",))
            await getattr(site.parts.registry.enrolling, move)(NAME, by, "it leaks")
            told = (await eve.get(LIST_ALL, params={"updated_since": since, "search": "payments"})).json()["servers"]
            assert [one["_meta"][META]["status"] for one in told] == [status]
            since = told[0]["_meta"][META]["updatedAt"]


async def test_what_files_declare_has_a_stamp_and_a_removed_server_is_told_as_deleted(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        dana = await site.api(DANA)
        (first,) = (await dana.get(LIST_ALL)).json()["servers"]
        since = first["_meta"][META]["updatedAt"]
        assert (await dana.get(LIST_ALL, params={"updated_since": since})).json()["servers"] == []
        rewrite(site, tmp_path, FILES["servers.yaml"].replace("team: Files", "team: Storage"))
        (changed,) = (await dana.get(LIST_ALL, params={"updated_since": since})).json()["servers"]
        assert changed["server"]["version"] != first["server"]["version"]
        assert changed["_meta"][GOVERNANCE]["owner"] == {"team": "Storage"}
        rewrite(site, tmp_path, "servers: {}\n")
        told = (await dana.get(LIST_ALL, params={"updated_since": changed["_meta"][META]["updatedAt"]})).json()["servers"]
        assert [one["_meta"][META]["status"] for one in told] == ["deleted"]


def rewrite(site: Site, folder: Path, servers: str) -> None:
    (folder / "servers.yaml").write_text(servers)
    site.parts.policies.current = load(folder)  # type: ignore[misc]  # the test's own policies can be set


async def changes(client: httpx2.AsyncClient, since: str) -> AsyncIterator[dict[str, Any]]:
    """Walk through what changed after a moment, in small pages."""
    cursor = ""
    while True:
        query = {"updated_since": since, "limit": "3", "search": "com.example", **({"cursor": cursor} if cursor else {})}
        told = (await client.get(LIST_ALL, params=query)).json()
        for item in told["servers"]:
            yield item
        cursor = told["metadata"].get("nextCursor", "")
        if not cursor:
            return


async def test_a_follower_misses_and_repeats_nothing_while_many_publish(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        olga, copy, heard, done = await owner(site), dict[Any, Any](), list[Any](), anyio.Event()

        async def publish(worker: int) -> None:
            for number in range(6):
                answer = await olga.post("/v0.1/publish", json=server_json(f"com.example/w{worker}", version=f"1.{number}.0"))
                assert answer.status_code == 200, answer.text

        async def follow() -> None:
            since, last = "2026-01-01T00:00:00Z", False
            while not last:
                last = done.is_set()
                async for item in changes(olga, since):
                    key = (item["server"]["name"], item["server"]["version"])
                    copy[key] = item["_meta"]
                    heard.append((*key, item["_meta"][META]["updatedAt"]))
                since = max((moment for *_, moment in heard), default=since)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            async with anyio.create_task_group() as publishing:
                for worker in range(4):
                    publishing.start_soon(publish, worker)
            done.set()
        whole = (await olga.get(LIST_ALL, params={"limit": "100", "search": "com.example"})).json()["servers"]
        assert copy == {(one["server"]["name"], one["server"]["version"]): one["_meta"] for one in whole}
        assert (len(whole), len(heard) - len(set(heard))) == (24, 0)


async def test_a_client_learns_whether_what_it_has_configured_is_approved(store: Store, tmp_path: Path) -> None:
    async with registry(store, tmp_path) as site:
        olga, eve = await owner(site), await site.api(EVE)
        await olga.post("/v0.1/publish", json=server_json())

        async def valid(**asked: str) -> Any:
            return (await eve.post("/api/validate", json={"name": NAME, **asked})).json()["valid"]

        assert await valid() is False
        await site.parts.registry.enrolling.submit(NAME, Actor(OLGA, ("payments",)))
        await approve(site)
        assert [await valid(), await valid(version="1.0.0", url=f"{site.url}/mcp/payments")] == [True, True]
        assert [await valid(url="https://payments.example.com/mcp"), await valid(version="2.0.0")] == [False, False]
        await site.parts.registry.enrolling.suspend(NAME, Actor(OLGA, ("payments",)), "it leaks")
        assert await valid() is False
