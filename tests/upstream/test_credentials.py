"""The broker's own credentials for servers: asked for, kept, renewed, and never the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey

from broker.audit.keys import SigningKey
from broker.domain.calls import Caller
from broker.domain.servers import Authorization, Grant, Server
from broker.errors import UpstreamError, UpstreamUntouched
from broker.identity.assertions import asserted
from broker.upstream.acting import speaking_for
from broker.upstream.credentials import Credentials
from broker.upstream.http import HttpServers
from broker.upstream.http_peers import HttpPeers
from broker.upstream.kept_secrets import KeptSecrets
from broker.upstream.probe import Prober
from broker.upstream.targets import Directory
from tests.fakes.scripted import Reply, Seen, Upstream, answer, said, usual
from tests.fakes.token_endpoint import TokenEndpoint
from tests.gateway.rig import serving
from tests.upstream.test_references import prints

KEY = SigningKey(OKPKey.generate_key("Ed25519"))
ALICE = Caller(agent="claude", user="alice@example.com")
BOB = Caller(agent="claude", user="bob@example.com")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
CALL = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}'


@dataclass
class Bench:
    """One guarded server whose token has to be asked for. `now` is the monotonic clock."""

    upstream: Upstream
    provider: TokenEndpoint
    now: float = 0.0
    server: Server = field(default_factory=lambda: Server("s"))

    def __post_init__(self) -> None:
        self.use(Authorization(self.provider.url, "broker", "env:TOP_SECRET", scope="pay", audience="payments"))
        self.own = Credentials(
            lambda caller, audience: asserted(KEY, "https://approvals", caller, audience, NOON),
            kept=KeptSecrets(lambda: self.now),
        )
        self.directory = Directory(lambda name: self.server)
        self.http = HttpServers(self.directory.target, credentials=self.own)

    def use(self, auth: Authorization | None, **more: Any) -> None:
        self.server = Server("s", url=self.upstream.url, auth=auth, **more)

    def exchange(self) -> None:
        self.use(Authorization(self.provider.url, "broker", "env:TOP_SECRET", grant=Grant.TOKEN_EXCHANGE))

    async def call(self, caller: Caller = ALICE) -> int:
        with speaking_for(caller):
            reply = await self.http.forward("s", "POST", {"content-type": "application/json"}, CALL)
        await reply.read()
        return reply.status

    @property
    def brought(self) -> list[str]:
        return [seen.headers.get("authorization", "") for seen in self.upstream.seen]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setenv("TOP_SECRET", "hush-hush")
    provider, upstream = TokenEndpoint(), Upstream()
    runner = await provider.start()
    async with serving(upstream) as upstream.url:
        made = Bench(upstream, provider)
        yield made
        await made.http.close()
        await made.own.close()
    await runner.cleanup()


async def test_many_calls_at_once_ask_for_one_token(bench: Bench) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(bench.call)
    assert bench.brought == ["Bearer token-1"] * 50
    form = {"grant_type": "client_credentials", "scope": "pay", "audience": "payments"}
    assert bench.provider.asked == [("broker:hush-hush", form)]


async def test_the_secret_goes_in_the_form_where_the_provider_wants_it_there(bench: Bench) -> None:
    bench.use(Authorization(bench.provider.url, "broker", "env:TOP_SECRET", client_auth="client_secret_post"))
    assert await bench.call() == 200
    assert bench.provider.asked == [("broker:hush-hush", {"grant_type": "client_credentials"})]


async def test_a_token_is_renewed_before_it_expires(bench: Bench) -> None:
    for bench.now, token in ((0.0, "token-1"), (3569.0, "token-1"), (3571.0, "token-2")):
        await bench.call()
        assert bench.brought[-1] == f"Bearer {token}"


async def test_a_token_that_the_server_refuses_is_renewed_once_and_the_message_sent_again(bench: Bench) -> None:
    async def only_the_second(seen: Seen, reply: Reply) -> None:
        if seen.headers["authorization"] == "Bearer token-1":
            await reply.raw(401)
        else:
            await reply.json(answer(seen, said("done")))

    bench.upstream.on["tools/call"] = only_the_second
    assert await bench.call() == 200
    assert bench.brought == ["Bearer token-1", "Bearer token-2"]
    assert await bench.call() == 200
    assert bench.brought[2:] == ["Bearer token-2"]


async def test_a_server_that_refuses_every_token_is_asked_twice(bench: Bench) -> None:
    async def never(seen: Seen, reply: Reply) -> None:
        await reply.raw(401)

    bench.upstream.on["tools/call"] = never
    assert await bench.call() == 401
    assert bench.brought == ["Bearer token-1", "Bearer token-2"]


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (lambda: web.json_response({"error": "invalid_client", "error_description": "hush-hush"}, status=401),
         "the token endpoint refuses (HTTP 401, invalid_client)"),
        (lambda: web.json_response({"error": "hush-hush is wrong"}, status=400), "the token endpoint refuses (HTTP 400)"),
        (lambda: web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}), "the token endpoint refuses (HTTP 302)"),
        (lambda: web.Response(status=503), "the token endpoint refuses (HTTP 503)"),
        (lambda: web.Response(text="[" * 9000), "the token endpoint's answer holds no bearer token"),
        (lambda: web.json_response({"access_token": "a\nb", "token_type": "Bearer"}),
         "the token endpoint's answer holds no bearer token"),
        (lambda: web.json_response({"access_token": "a", "token_type": "N_A"}),
         "the token endpoint's answer holds no bearer token"),
    ],
)  # fmt: skip
async def test_without_a_token_no_call_leaves_and_the_reason_says_no_secret(
    bench: Bench, says: Callable[[], web.Response], why: str
) -> None:
    bench.provider.says = says()
    for _ in range(2):  # the second is told from memory: a provider that fails is not asked by every call
        with pytest.raises(UpstreamUntouched) as caught:
            await bench.call()
        assert caught.value.message == f"the broker's credentials for s can't be had: {why}"
    assert (bench.upstream.seen, len(bench.provider.asked)) == ([], 1)


async def test_a_provider_that_is_away_gives_no_token(bench: Bench) -> None:
    bench.use(Authorization("https://provider.invalid/token", "broker"))
    with pytest.raises(UpstreamUntouched, match="the token endpoint can't be asked"):
        await bench.call()
    assert bench.upstream.seen == []


async def test_a_caller_that_gives_up_leaves_the_question_to_the_others(bench: Bench) -> None:
    bench.provider.open.clear()
    calls = [asyncio.create_task(bench.call()) for _ in range(2)]
    while not bench.provider.asked:  # noqa: ASYNC110 - the endpoint has no event of its own
        await asyncio.sleep(0.01)
    calls[0].cancel()
    bench.provider.open.set()
    assert await calls[1] == 200


# -- the user's own access ------------------------------------------------------------------------------------


async def test_the_users_access_is_asked_for_with_a_statement_about_who_calls(bench: Bench) -> None:
    bench.exchange()
    await bench.call(ALICE)
    [(_, form)] = bench.provider.asked
    with pytest.warns(SecurityWarning):  # the old name of the algorithm, which providers know
        stated = jwt.decode(form.pop("subject_token"), KEY.jwk, algorithms=["EdDSA"])
    claims = {name: stated.claims[name] for name in ("iss", "sub", "aud", "act", "iat", "exp")}
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }
    assert claims == {
        "iss": "https://approvals", "sub": "alice@example.com", "aud": bench.provider.url, "act": {"sub": "claude"},
        "iat": int(NOON.timestamp()), "exp": int(NOON.timestamp()) + 60,
    }  # fmt: skip


async def test_one_users_token_is_never_used_for_another(bench: Bench) -> None:
    bench.exchange()
    for caller in (ALICE, BOB, ALICE, msgspec.structs.replace(BOB, agent="other")):
        await bench.call(caller)
    assert bench.brought == ["Bearer token-1", "Bearer token-2", "Bearer token-1", "Bearer token-3"]


async def test_who_calls_without_a_user_has_no_users_access(bench: Bench) -> None:
    bench.exchange()
    with pytest.raises(UpstreamUntouched, match="no user is known behind this call"):
        await bench.call(Caller(agent="cron", workload="spiffe://example.org/cron"))
    with pytest.raises(UpstreamUntouched, match="no user is known behind this call"):
        await bench.http.forward("s", "POST", {}, CALL)  # nobody said for whom
    assert (bench.provider.asked, bench.upstream.seen) == ([], [])


async def test_a_probe_is_put_with_the_brokers_own_access(bench: Bench) -> None:
    bench.exchange()
    peers = HttpPeers(bench.http.forward, bench.directory.target, _no_schema)
    with speaking_for(ALICE):
        listing = await Prober(lambda name: bench.server, peers, _no_peer).probe("s")
    await peers.close()
    assert listing.tools
    assert {form["grant_type"] for _, form in bench.provider.asked} == {"client_credentials"}


async def test_an_older_session_of_the_broker_is_not_shared_between_users(bench: Bench) -> None:
    bench.exchange()

    async def older(seen: Seen, reply: Reply) -> None:
        await reply.json({"jsonrpc": "2.0", "id": (seen.message or {})["id"], "error": {"code": -32601, "message": "?"}})

    bench.upstream.on["server/discover"] = older
    bench.upstream.on["initialize"] = usual
    peers = HttpPeers(bench.http.forward, bench.directory.target, _no_schema)
    with speaking_for(ALICE), pytest.raises(UpstreamError, match="can't be shared"):
        await peers.peer("s")
    await peers.close()


# -- commands ------------------------------------------------------------------------------------------------


async def test_a_secret_stores_client_is_asked_once_and_again_when_the_server_refuses(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    bench.use(None, headers={"Authorization": "Bearer " + prints(f"print(open({str(secret)!r}).read())")})

    async def only_the_second(seen: Seen, reply: Reply) -> None:
        secret.write_text("second\n")
        await reply.raw(401 if seen.headers["authorization"] == "Bearer first" else 202)

    bench.upstream.on["tools/call"] = only_the_second
    assert await bench.call() == 202
    assert bench.brought == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (prints("raise SystemExit(3)"), "ended with exit status 3"),
        (prints("print('a'); print('b')"), "did not print one line of text"),
        (prints("pass"), "did not print one line of text"),
        ("command:/no/such/program", "can't be run: FileNotFoundError"),
        ("command:", "can't be run"),
        ("command:'unclosed", "can't be run: ValueError"),
    ],
)
async def test_a_command_that_says_no_secret_stops_the_call(bench: Bench, command: str, why: str) -> None:
    bench.use(None, headers={"X-Key": command})
    with pytest.raises(UpstreamUntouched) as caught:
        await bench.call()
    assert why in caught.value.message
    assert bench.upstream.seen == []


@pytest.mark.parametrize("headers", [{"X": "env:HOME"}, {"X": "file:/etc/passwd"}, {"X": "command:id"}, {"X": "Bearer env:HOME"}])
async def test_a_server_that_was_enrolled_refers_to_no_secret(bench: Bench, headers: dict[str, str]) -> None:
    bench.use(None, headers=headers, enrolled=True)
    with pytest.raises(UpstreamUntouched, match="only a server of the policy folder"):
        await bench.call()


async def _no_schema(server: str, tool: str) -> None:
    return None


async def _no_peer(server: str) -> Any:
    raise AssertionError
