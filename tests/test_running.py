"""The wired broker, served: what operators' machines ask, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import anyio
import pytest

from broker.errors import ConfigInvalid
from broker.running import Running, running
from broker.settings import Settings, TokenIssuer, load_settings
from broker.store import keys
from broker.store.open import open_store
from tests.conftest import empty
from tests.fakes.provider import BASE, Provider
from tests.fakes.serving import started

POLICY = {
    "servers.yaml": "servers:\n  payments: {url: 'http://127.0.0.1:9/mcp', tools: {refund_get: {read_only: true}}}\n",
    "people.yaml": "people: {dana@example.com: {name: Dana}}\ngroups: {finance: [dana@example.com]}\n",
    "rules.yaml": "defaults: {unmatched: deny}\nrules: []\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    made.mkdir()
    for name, text in POLICY.items():
        (made / name).write_text(text)
    return made


@pytest.fixture
async def fresh_url(store_url: str) -> str:
    await empty(store_url)
    return store_url


@pytest.fixture
async def served(fresh_url: str, folder: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(Settings(redis_url=fresh_url, policies=folder, data=tmp_path / "data", port=0)) as broker:
        yield broker


async def _get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return answer.status, await answer.text()


async def test_where_nobody_can_listen_or_write_the_setting_is_named(served: Running, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for named, told in (
        (
            {"port": served.port, "data": tmp_path},
            f"127.0.0.1, port {served.port} .Address already in use.: set BROKER_HOST or BROKER_PORT",
        ),
        ({"port": 0, "data": file / "data"}, "the data folder .* can't be made .*: set BROKER_DATA"),
    ):
        with pytest.raises(ConfigInvalid, match=told):
            async with running(load_settings(**named)):
                pass


async def test_a_broker_says_that_it_lives_and_is_ready(served: Running) -> None:
    assert await _get(served.url + "/healthz") == (200, '{"status":"alive"}')
    assert await _get(served.url + "/readyz") == (200, '{"status":"ready"}')


async def test_a_broker_forgets_the_calls_of_replays_that_are_older_than_retention_says(
    fresh_url: str, folder: Path, tmp_path: Path
) -> None:  # fmt: skip
    async with open_store(fresh_url, data=tmp_path / "before", broker_id="before") as store:
        await store.audit._commands.run("XADD", keys.recordings(), "1-0", "c", b"{}")  # of 1970
        async with running(Settings(redis_url=fresh_url, policies=folder, data=tmp_path / "data", port=0)):
            with anyio.fail_after(5):
                while await store.recordings.read():
                    await store.requests.due(1)


async def test_a_broker_that_is_told_to_stop_is_not_ready(served: Running) -> None:
    served.broker.stopping.set()
    assert await _get(served.url + "/readyz") == (503, '{"status":"not ready","why":["the broker is stopping"]}')


async def test_a_broker_without_a_good_policy_is_not_ready_and_tells_agents_so(
    fresh_url: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "rules.yaml").write_text("rules: [{id: x, effect: maybe}]\n")
    async with running(Settings(redis_url=fresh_url, policies=folder, data=tmp_path / "data", port=0)) as broker:
        assert await _get(broker.url + "/readyz") == (503, '{"status":"not ready","why":["there is no good policy"]}')
        token = await broker.broker.identity.agents.add("bot", owner="dana@example.com", lasts=timedelta(hours=1))
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "refund_get", "arguments": {}}}
        headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
        for server in ("payments", "unheard"):
            async with (
                aiohttp.ClientSession() as client,
                client.post(f"{broker.url}/mcp/{server}", json=body, headers=headers) as answer,
            ):
                told = (answer.status, (await answer.json())["error"]["message"])
            assert told == (
                503, "the approval broker has no policy it can use, so nothing was done: its operator has to mend that",
            )  # fmt: skip


async def test_a_call_is_counted_by_what_the_policy_said(served: Running, folder: Path, tmp_path: Path) -> None:
    token = await served.broker.identity.agents.add("bot", owner="dana@example.com", lasts=timedelta(hours=1))
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "refund_get", "arguments": {}}}
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    with started([sys.executable, "-m", "tests.fakes.ledger_server", str(tmp_path / "ledger")]) as upstream:
        (folder / "servers.yaml").write_text(POLICY["servers.yaml"].replace("http://127.0.0.1:9/mcp", upstream))
        await served.broker.policies.load()
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{served.url}/mcp/payments", json=body, headers=headers) as answer,
        ):
            assert answer.status == 200, await answer.text()
    _, text = await _get(served.url + "/metrics")
    assert 'approval_broker_calls_total{effect="deny",server="payments"} 1.0' in text
    assert "approval_broker_store_up 1.0" in text
    assert ('approval_broker_deliveries{state="waiting"} 0.0' in text, "approval_broker_dead_letters 0.0" in text) == (True, True)


async def test_what_callers_are_refused_for_is_counted_by_its_code(served: Running) -> None:
    token = await served.broker.identity.agents.add("bot", owner="dana@example.com", lasts=timedelta(hours=1))
    head = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {token}"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "refund_get", "arguments": {}}}
    async with aiohttp.ClientSession() as client:
        for body, headers in ((call, {}), (call, head | {"authorization": "Bearer made-up"}), ({"id": 1}, head)):
            async with client.post(f"{served.url}/mcp/payments", json=body, headers=headers) as answer:
                assert answer.status in (400, 401)
    _, text = await _get(served.url + "/metrics")
    codes = ("unauthenticated", "malformed")
    assert [f'approval_broker_errors_total{{code="{code}"}} {n}' in text for code, n in zip(codes, (2.0, 1.0), strict=True)] == [
        True, True,
    ]  # fmt: skip


async def test_public_keys_are_public_and_private_ones_are_not(served: Running) -> None:
    status, text = await _get(served.url + "/.well-known/jwks.json")
    assert (status, '"kty": "OKP"' in text, '"d"' in text) == (200, True, False)


async def test_a_broker_ends_within_its_time(fresh_url: str, folder: Path, tmp_path: Path) -> None:
    with anyio.fail_after(10):
        async with running(Settings(redis_url=fresh_url, policies=folder, data=tmp_path / "data", port=0)):
            pass


async def test_a_client_finds_the_issuer_by_the_401_and_its_token_is_taken(fresh_url: str, folder: Path, tmp_path: Path) -> None:
    provider = Provider()
    runner = await provider.start()
    issuers = (TokenIssuer(issuer=provider.url),)
    settings = Settings(
        redis_url=fresh_url, policies=folder, data=tmp_path / "data", port=0, oauth_issuers=issuers, public_url=BASE
    )  # fmt: skip
    async with running(settings) as broker, aiohttp.ClientSession() as client:
        here = f"http://127.0.0.1:{broker.port}"
        async with client.post(f"{here}/mcp/payments", json={}) as refused:
            assert (refused.status, refused.headers["www-authenticate"]) == (
                401, f'Bearer resource_metadata="{BASE}/.well-known/oauth-protected-resource/mcp/payments"',
            )  # fmt: skip
        for scheme, error in (("Bearer", 'error="invalid_token", '), ("Basic", "")):
            async with client.post(f"{here}/mcp/payments", json={}, headers={"authorization": f"{scheme} abc"}) as refused:
                assert refused.headers["www-authenticate"].startswith(f"Bearer {error}resource_metadata=")
        for path in ("/mcpayments", "/mcp/", "/mcp/a/b", "/mcp/%22"):
            assert (await _get(f"{here}/.well-known/oauth-protected-resource{path}"))[0] == 404
        _, told = await _get(f"{here}/.well-known/oauth-protected-resource/mcp/payments")
        assert json.loads(told) == {
            "resource": f"{BASE}/mcp/payments", "authorization_servers": [provider.url],
            "bearer_methods_supported": ["header"], "resource_name": "approval broker",
        }  # fmt: skip
        expires = int(datetime.now(UTC).timestamp()) + 60
        statuses = {}
        for name, aud in (
            ("ours", f"{BASE}/mcp/payments"),
            ("another server's", f"{BASE}/mcp/files"),
            ("foreign", "https://x.example"),
        ):
            headers = {
                "authorization": f"Bearer {provider.token(aud=aud, exp=expires)}",
                "accept": "application/json, text/event-stream",
            }
            async with client.post(f"{here}/mcp/payments", json={"not": "a message"}, headers=headers) as answer:
                statuses[name] = answer.status
        assert statuses == {"ours": 400, "another server's": 404, "foreign": 401}
    await runner.cleanup()
