"""Secrets planted everywhere that an agent, a server or an operator may put one, searched in everything that a broker says or
keeps: log, card, pages, API, audit and its exports, metrics, errors, traces, the store, the data folder.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from aiohttp import web

from broker.approvals.ports import Query
from broker.audit.export import FORMATS
from broker.domain.reviews import Verdict
from tests.conftest import empty
from tests.fakes.slack_front import SlackFront
from tests.fakes.wired import Wired, free_port, wired
from tests.gateway.wire import call

UPSTREAM, KEY = "upstream-canary-3c1f0d", "ab" * 32
ARGUMENTS = {
    "github": "ghp_" + "a1B2" * 9,
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "deep": [{"list": [{"password": "deep-canary-77"}]}, {"note": "the key is sk-ant-api03-" + "x9Y8" * 12}],
    "url": "https://user:url-canary-55@db.example.com/x",
    "card": {"number": "rule-canary-12"},
    "what": "nothing",
}
PLANTED = {
    "shape": ARGUMENTS["github"], "aws": ARGUMENTS["aws"], "name": "deep-canary-77", "in a text": "sk-ant-api03-" + "x9Y8" * 12,
    "in a URL": "url-canary-55", "rule": "rule-canary-12", "upstream": UPSTREAM, "encryption": KEY, "slack": "xoxb-test",
}  # fmt: skip
SERVERS = "servers: {tools: {url: 'URL', headers: {Authorization: 'env:CANARY'}, tools: {echo: {}, park_me: {}}}}"
RULES = """
defaults: {approval: {all_of: [{group: finance}], timeout: 15m}, unmatched: deny}
rules:
  - {id: free, match: {server: tools, tool: echo}, effect: allow}
  - {id: asked, title: "Park {args.github} {args.card.number}", match: {server: tools, tool: park_me}, effect: require_approval,
     approval: {all_of: [{group: finance}], channels: ["slack:#ops"],
       show: [args.github, args.card.number, args.url]}, redact: ["$.args.card.*"]}
"""


@pytest.fixture
async def traces(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    taken: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield taken
    await runner.cleanup()


async def made_mistakes(here: Wired) -> str:
    """What the broker answers to messages that are wrong and full of secrets."""
    told, secrets = [], json.dumps(ARGUMENTS)
    url, good = f"{here.url}/mcp/tools", {"authorization": f"Bearer {here.agent}", "content-type": "application/json"}
    for body in (secrets, secrets[:-1], f'{{"jsonrpc": "2.0", "id": 1, "method": {secrets}}}', f"[{secrets}]"):
        told.append((await here.http.post(url, content=body, headers=good)).text)
    for token in PLANTED.values():
        told.append((await here.http.post(url, json=call(), headers={"authorization": f"Bearer {token}"})).text)
        told.append((await here.http.get(f"{here.url}/api/v1/me", headers={"authorization": f"Bearer {token}"})).text)
    told.append((await here.call("missing", ARGUMENTS)).text)
    return "\n".join(told)


async def pages(here: Wired) -> dict[str, str]:
    """Everything that people are shown, as one who may review."""
    session = await here.run.broker.identity.sessions.start("dana@example.com", how="link")
    found = {}
    requests = (await here.run.broker.store.requests.find(Query())).requests
    paths = ["/", "/history", "/history/export/csv", "/history/export/json", "/policies", "/servers", "/insights", "/health"]
    paths += [f"/r/{request.id}" for request in requests] + ["/metrics", "/readyz", "/nowhere", "/.well-known/jwks.json"]
    for path in paths:
        answer = await here.http.get(here.url + path, headers={"cookie": f"broker={session.secret}"})
        found[path] = answer.text
    for request in requests:
        for path in (f"/api/v1/requests/{request.id}", "/api/v1/requests?wanted=", f"/api/v1/requests/{request.id}/receipt"):
            found[path] = (await here.http.get(here.url + path, headers={"authorization": f"Bearer {here.dana}"})).text
    return found


async def stored(here: Wired) -> str:
    """Every value of the store, read as what it is: a dump would be compressed."""
    run = here.run.broker.store.audit._commands.run
    readers = {b"string": ("GET",), b"hash": ("HGETALL",), b"zset": ("ZRANGE", 0, -1), b"set": ("SMEMBERS",),
               b"list": ("LRANGE", 0, -1), b"stream": ("XRANGE", "-", "+")}  # fmt: skip
    told = []
    for name in await run("KEYS", "*"):
        verb, *rest = readers[await run("TYPE", name)]
        told.append(f"{name} {await run(verb, name, *rest)}")
    return "\n".join(told)


async def test_no_secret_comes_out_anywhere(
    store_url: str, front: SlackFront, tmp_path: Path, traces: list[bytes], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await empty(store_url)
    monkeypatch.setenv("CANARY", UPSTREAM)
    port, sinks = free_port(), dict[str, str]()
    async with wired(
        store_url, tmp_path, rules=RULES, servers=SERVERS, port=port, public_url=f"http://127.0.0.1:{port}", record="all",
        encryption_keys=KEY, slack_bot_token=PLANTED["slack"], slack_signing_secret=front.secret, slack_url=front.url,
        slack_answers=front.answers,
    ) as here:  # fmt: skip
        front.deliver = here.url
        assert (await here.call("echo", ARGUMENTS)).status_code == 200
        reason = {"approval-broker/reason": f"I was given {PLANTED['shape']} and {ARGUMENTS['url']}"}
        async with anyio.create_task_group() as tasks:
            for verdict in (Verdict.APPROVE, Verdict.REJECT):
                tasks.start_soon(asked, here, {**ARGUMENTS, "what": verdict.value}, reason)
                (request,) = await here.asked()
                with anyio.fail_after(20):
                    while not (cards := await front.messages("ops")):
                        await front.next_call()
                await here.review(request, verdict)
        sinks["errors"] = await made_mistakes(here)
        sinks |= await pages(here)
        sinks["cards"] = json.dumps(cards + await front.messages("ops"))
        store = here.run.broker.store
        sinks["store"] = await stored(here)
        entries = await store.audit.read(0, 1_000)
        sinks |= {form: "\n".join(map(FORMATS[form], entries)) for form in FORMATS}
        sinks["audit"] = str(await store.audit.raw(0, 1_000))
        secrets = PLANTED | {"agent's token": here.agent, "person's token": here.dana, "Slack's secret": front.secret}
        assert here.upstream.of("tools/call")[-1].headers["authorization"] == UPSTREAM
    sinks["traces"] = b"\n".join(traces).decode("latin-1")
    sinks["log"] = "".join(capfd.readouterr())
    sinks |= {str(file): file.read_bytes().decode("latin-1") for file in (tmp_path / "data").rglob("*") if file.is_file()}
    found = {(name, sink) for name, secret in secrets.items() for sink, said in sinks.items() if str(secret) in said}
    assert found == set()
    assert "Park" in sinks["cards"]
    assert all(sinks[name] for name in ("log", "traces", "store", "audit", "/metrics", "errors"))


async def asked(here: Wired, arguments: dict[str, Any], meta: dict[str, Any]) -> httpx2.Response:
    message = call("park_me", arguments)
    message["params"]["_meta"] |= meta
    head = {"authorization": f"Bearer {here.agent}", "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call",
            "mcp-name": "park_me", "accept": "application/json, text/event-stream"}  # fmt: skip
    return await here.http.post(f"{here.url}/mcp/tools", json=message, headers=head)
