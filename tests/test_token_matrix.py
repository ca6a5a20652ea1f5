"""Every kind of credential at every kind of endpoint of a whole broker, with an issuer beside its own tokens."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from joserfc.jwk import ECKey, RSAKey

from broker.domain.requests import RequestState
from broker.settings import TokenIssuer
from tests.conftest import empty
from tests.fakes.provider import BASE, Provider
from tests.fakes.wired import PEOPLE, Wired, wired
from tests.gateway.wire import call, post

RULES = """
defaults: {approval: {all_of: [{group: finance}], timeout: 15m}, unmatched: deny}
rules:
  - {id: free, match: {server: tools, tool: echo}, effect: allow}
  - {id: asked, match: {server: tools, tool: park_me, groups_any: [support]}, effect: require_approval}
"""
NONE, HS256 = b'{"alg":"none"}', b'{"alg":"HS256","kid":"first"}'
STRANGER = RSAKey.generate_key(2048, {"kid": "first"})


def at(minutes: float) -> int:
    return int((datetime.now(UTC) + timedelta(minutes=minutes)).timestamp())


def text(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def shared(provider: Provider) -> str:
    """A token whose shared secret is the public key: the old confusion of algorithms."""
    body = provider.token(exp=at(5)).split(".")[1]
    signed = f"{text(HS256)}.{body}"
    return f"{signed}.{text(hmac.new(provider.keys[0].as_pem(private=False), signed.encode(), hashlib.sha256).digest())}"


def promoted(provider: Provider) -> str:
    """A good token whose groups were changed after it was signed."""
    head, body, signature = provider.token(exp=at(5)).split(".")
    claims = json.loads(urlsafe_b64decode(body + "=="))
    return f"{head}.{text(json.dumps(claims | {'groups': ['finance']}).encode())}.{signature}"


def rotated(provider: Provider) -> str:
    provider.keys.insert(0, ECKey.generate_key("P-256", {"kid": "second"}))
    return provider.token(key=provider.keys[0], header={"alg": "ES256", "kid": "second"}, exp=at(5))


FORGED: dict[str, Callable[[Provider], str]] = {
    "garbage": lambda p: "abc",
    "expired": lambda p: p.token(exp=at(-2)),
    "without an end": lambda p: p.token(exp=None),
    "not yet valid": lambda p: p.token(exp=at(5), nbf=at(2)),
    "wrong issuer": lambda p: p.token(exp=at(5), iss="https://elsewhere.example"),
    "wrong audience": lambda p: p.token(exp=at(5), aud="https://elsewhere.example"),
    "algorithm none": lambda p: f"{text(NONE)}.{p.token(exp=at(5)).split('.')[1]}.",
    "HS256 with the public key": shared,
    "unknown key": lambda p: p.token(key=STRANGER, header={"alg": "RS256", "kid": "third"}, exp=at(5)),
    "a stranger's key of the same name": lambda p: p.token(key=STRANGER, exp=at(5)),
    "changed after it was signed": promoted,
}

SHUT = {
    "POST /mcp/tools": 401, "GET /mcp/tools": 401, "DELETE /mcp/tools": 401, "POST /mcp/nowhere": 401, "POST /mcp": 401,
    "POST /api/authz/check": 401, "GET /api/v1/me": 401, "GET /api/v1/requests": 401, "GET /api/v1/watch": 401,
    "GET /api/v1/requests/ID": 401, "GET /api/v1/requests/ID/receipt": 401, "POST /api/v1/requests/ID/reviews": 401,
    "POST /api/v1/requests/ID/comments": 401, "POST /api/v1/requests/ID/record": 401,
    "GET /": 303, "GET /r/ID": 303, "POST /r/ID/review": 303,
}  # fmt: skip
OPEN_TO_AGENTS = {
    "POST /mcp/tools": 200,
    "GET /mcp/tools": 405,
    "DELETE /mcp/tools": 200,
    "POST /mcp/nowhere": 404,
    "POST /mcp": 200,
}
PAGES = dict.fromkeys(("GET /", "GET /r/ID", "POST /r/ID/review"), 403)
AGENT = SHUT | OPEN_TO_AGENTS | PAGES | {"POST /api/authz/check": 200}
ANOTHER_SERVERS = SHUT | PAGES | dict.fromkeys(OPEN_TO_AGENTS, 404) | {"POST /mcp": 400} | {"POST /api/authz/check": 200}
PERSON = SHUT | {
    "POST /api/authz/check": 200, "GET /api/v1/me": 200, "GET /api/v1/requests": 200, "GET /api/v1/watch": 200,
    "GET /api/v1/requests/ID": 200, "GET /api/v1/requests/ID/receipt": 409, "POST /api/v1/requests/ID/reviews": 409,
    "POST /api/v1/requests/ID/comments": 200, "POST /api/v1/requests/ID/record": 409,
}  # fmt: skip
BODIES: dict[str, Any] = {
    "/api/authz/check": {"server": "tools", "tool": "echo"}, "/reviews": {"verdict": "approve", "digest": "sha256:0"},
    "/comments": {"text": "hello"}, "/record": {"ran": True, "why": "x"},
}  # fmt: skip


async def answers(here: Wired, token: str | None, request_id: str) -> dict[str, int]:
    """What each endpoint answers to this token."""
    head = {} if token is None else {"authorization": f"Bearer {token}"}
    found = {}
    for endpoint in SHUT:
        method, path = endpoint.replace("ID", request_id).split(" ")
        if method == "POST" and path.startswith("/mcp"):
            message = call("echo" if path != "/mcp" else "tools__echo")
            found[endpoint] = (await post(here.http, here.url + path, message, **head)).status_code
            continue
        body = next((value for end, value in BODIES.items() if path.endswith(end)), None)
        async with here.http.stream(method, here.url + path, headers=head, json=body) as answer:
            found[endpoint] = answer.status_code
    return found


@pytest.fixture
async def provider() -> Any:
    made = Provider()
    runner = await made.start()
    yield made
    await runner.cleanup()


async def test_each_token_opens_what_it_is_for_and_a_forged_one_nothing(
    store_url: str, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(store_url)
    monkeypatch.setattr("broker.identity.issuers.AGAIN", 0.0)
    async with (
        wired(store_url, tmp_path, oauth_issuers=(TokenIssuer(issuer=provider.url),), public_url=BASE) as here,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(here.call, "park_me")
        (request,) = await here.asked()
        agents, lasts = here.run.broker.identity.agents, timedelta(hours=1)
        revoked = await agents.add("old", owner="sam@example.com", lasts=lasts)
        narrow = await agents.add("narrow", owner="sam@example.com", lasts=lasts, servers=("files",))
        assert await agents.revoke("old") == 1
        tokens = {name: (forge(provider), SHUT) for name, forge in FORGED.items()}
        tokens |= {
            "missing": (None, SHUT),
            "revoked": (revoked, SHUT),
            "an access token": (provider.token(exp=at(5)), AGENT),
            "of a rotated key": (rotated(provider), AGENT),
            "an agent's": (here.agent, AGENT),
            "for another server": (provider.token(exp=at(5), aud=f"{BASE}/mcp/files"), ANOTHER_SERVERS),
            "an agent's for another server": (narrow, ANOTHER_SERVERS),
            "a person's": (here.dana, PERSON),
        }  # fmt: skip
        found = {name: await answers(here, token, request.id) for name, (token, _) in tokens.items()}
        state = (await here.run.broker.store.requests.get(request.id)).state
        tasks.cancel_scope.cancel()
    assert found == {name: expected for name, (_, expected) in tokens.items()}
    assert state is RequestState.PENDING
    assert {seen.message["params"]["name"] for seen in here.upstream.of("tools/call") if seen.message} == {"echo"}


async def test_a_user_who_left_the_group_between_asking_and_release_gets_nothing(store_url: str, tmp_path: Path) -> None:
    await empty(store_url)
    people = PEOPLE.replace("groups: {", "groups: {support: [alice@example.com], ")
    async with wired(store_url, tmp_path, rules=RULES, people=people) as here:
        alice = await here.run.broker.identity.agents.add(
            "bot", owner="sam@example.com", user="alice@example.com", lasts=timedelta(hours=1)
        )
        assert (await here.parked(authorization=f"Bearer {alice}")).json()["result"].get("isError", False) is False
        found: list[httpx2.Response] = []

        async def ask() -> None:
            found.append(await here.call("park_me", {"again": True}, token=alice))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            (request,) = await here.asked()
            (tmp_path / "policies" / "people.yaml").write_text(
                PEOPLE.replace("groups: {", "groups: {support: [bo@example.com], ")
            )
            await here.run.broker.policies.load()
            await here.review(request)
        assert found[0].json()["result"]["isError"] is True
        assert (await here.run.broker.store.requests.get(request.id)).state is RequestState.REJECTED
        assert len(here.upstream.of("tools/call")) == 1
