from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey

from broker import outgoing
from broker.domain.calls import Caller
from broker.errors import Unauthenticated
from broker.identity import issuers
from broker.identity.access_tokens import AccessTokens
from broker.identity.issuers import Issuer
from tests.fakes.provider import BASE, NOW, Provider
from tests.fakes.scripted import Reply, Seen, Upstream
from tests.gateway.rig import serving


async def test_a_users_token_names_user_groups_and_client(provider: Provider, tokens: AccessTokens) -> None:
    caller = await tokens.authenticate(provider.token())
    assert caller == Caller(agent="claude-code", user="alice@example.com", groups=("support",))


async def test_who_acts_for_a_user_is_kept_beside_the_user(provider: Provider, tokens: AccessTokens) -> None:
    caller = await tokens.authenticate(provider.token(act={"sub": "support-bot"}))
    assert (caller.agent, caller.user) == ("support-bot", "alice@example.com")


async def test_a_service_is_a_workload_and_no_user(provider: Provider, tokens: AccessTokens) -> None:
    for subject, client in (("reporting", "reporting"), ("spiffe://example.com/reporting", None)):
        caller = await tokens.authenticate(provider.token(sub=subject, client_id=client))
        assert (caller.user, caller.workload) == ("", subject)


async def test_a_workload_that_acts_for_a_user_is_kept_as_both(provider: Provider, tokens: AccessTokens) -> None:
    web, foreign = "spiffe://example.com/web", "spiffe://elsewhere.example/web"
    caller = await tokens.authenticate(provider.token(act={"sub": web}))
    assert caller == Caller(agent=web, user="alice@example.com", workload=web, groups=("support",))
    caller = await tokens.authenticate(provider.token(act={"sub": foreign}))
    assert (caller.agent, caller.workload) == (foreign, "")


@pytest.mark.parametrize(
    "subject", ["spiffe://elsewhere.example/x", "spiffe://Example.com/x", "spiffe:x", "spiffe://example.com/../x"]
)
async def test_an_issuer_names_no_workload_of_another_trust_domain(
    provider: Provider, tokens: AccessTokens, subject: str
) -> None:
    with pytest.raises(Unauthenticated, match="trust domain"):
        await tokens.authenticate(provider.token(sub=subject))
    plain = AccessTokens([Issuer(provider.url)], base=BASE, clock=lambda: NOW)
    with pytest.raises(Unauthenticated, match="trust domain"):
        await plain.authenticate(provider.token(sub="spiffe://example.com/x"))


async def test_a_jwt_svid_without_an_issuer_is_known_by_its_trust_domain_and_bundle(provider: Provider, tmp_path: Path) -> None:
    key = provider.keys[0].as_dict(private=False)
    stranger = RSAKey.generate_key(2048, {"kid": "x509"})
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps({"keys": [key | {"use": "jwt-svid"}, stranger.as_dict(private=False) | {"use": "x509-svid"}]}))
    svids = AccessTokens(
        [Issuer("spire", trust_domain="example.com", jwks_file=bundle)], base=BASE, clock=lambda: NOW
    )  # fmt: skip
    told = {"iss": None, "client_id": None, "groups": None, "sub": "spiffe://example.com/reporting"}
    assert await svids.authenticate(provider.token(**told)) == Caller(workload="spiffe://example.com/reporting")
    for claims in (told | {"sub": "alice@example.com"}, told | {"sub": "spiffe://elsewhere.example/x"}, told | {"aud": "x"}):
        with pytest.raises(Unauthenticated):
            await svids.authenticate(provider.token(**claims))
    with pytest.raises(Unauthenticated, match="signature"):
        await svids.authenticate(provider.token(key=stranger, header={"alg": "RS256", "kid": "x509"}, **told))
    bundle.unlink()
    with pytest.raises(Unauthenticated, match="can't be had"):
        await AccessTokens(
            [Issuer("spire", trust_domain="example.com", jwks_file=bundle)], base=BASE, clock=lambda: NOW
        ).authenticate(provider.token(**told))


async def test_an_audience_of_one_server_opens_that_server_only(provider: Provider, tokens: AccessTokens) -> None:
    caller = await tokens.authenticate(provider.token(aud=[f"{BASE}/mcp/payments"]))
    assert (caller.may_use("payments"), caller.may_use("files")) == (True, False)


async def test_surface_and_conversation_are_believed_where_the_issuer_is_asked_for_them(provider: Provider) -> None:
    claims = {"via": "support-bot", "place": "C0AIRFLOW", "surface": "other"}
    asked = AccessTokens(
        [Issuer(provider.url, surface_claim="via", conversation_claim="place")], base=BASE, clock=lambda: NOW
    )  # fmt: skip
    caller = await asked.authenticate(provider.token(**claims))
    assert (caller.surface, caller.conversation) == ("support-bot", "C0AIRFLOW")
    odd = await asked.authenticate(provider.token(via=["support-bot"], place=7))
    assert (odd.surface, odd.conversation) == ("", "")


async def test_an_issuer_that_is_not_asked_vouches_for_no_surface(provider: Provider, tokens: AccessTokens) -> None:
    caller = await tokens.authenticate(provider.token(surface="support-bot", conversation="C0AIRFLOW", via="x"))
    assert (caller.surface, caller.conversation) == ("", "")


BEFORE, AFTER = int((NOW - timedelta(minutes=1)).timestamp()), int((NOW + timedelta(minutes=1)).timestamp())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": BEFORE}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "never"}, "expired"),
        ({"nbf": AFTER}, "not valid yet"),
        ({"iss": "https://elsewhere.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "https://elsewhere.example"}, "somebody else"),
        ({"aud": None}, "somebody else"),
        ({"aud": f"{BASE}.evil.example/mcp"}, "somebody else"),
        ({"sub": None}, "no claim"),
        ({"sub": ["alice@example.com"]}, "claim sub is no plain name"),
        ({"sub": True}, "claim sub is no plain name"),
        ({"sub": " alice@example.com"}, "claim sub is no plain name"),
        ({"sub": "alice@example.com\n"}, "claim sub is no plain name"),
        ({"client_id": {"a": 1}}, "claim client_id is no plain name"),
        ({"act": "support-bot"}, "who acts"),
        ({"act": {"sub": ["support-bot"]}}, "claim sub is no plain name"),
    ],
)
async def test_a_token_that_is_not_for_now_or_not_for_us_is_refused(
    provider: Provider, tokens: AccessTokens, claims: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unauthenticated, match=why):
        await tokens.authenticate(provider.token(**claims))


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "JWT", None])
async def test_an_access_token_may_say_that_it_is_one(provider: Provider, tokens: AccessTokens, kind: str | None) -> None:
    await tokens.authenticate(provider.token(header={"alg": "RS256", "kid": "first"} | ({"typ": kind} if kind else {})))


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt"])
async def test_what_an_issuer_signs_for_another_purpose_opens_nothing(
    provider: Provider, tokens: AccessTokens, kind: str
) -> None:  # fmt: skip
    with pytest.raises(Unauthenticated, match="another kind of token"):
        await tokens.authenticate(provider.token(header={"alg": "RS256", "kid": "first", "typ": kind}))


@pytest.mark.parametrize("audience", ["", "/", "/mcp", "/mcp/payments"])
async def test_a_broker_without_an_address_of_its_own_is_meant_by_no_half_of_one(provider: Provider, audience: str) -> None:
    tokens = AccessTokens([Issuer(provider.url)], base="", clock=lambda: NOW)
    with pytest.raises(Unauthenticated, match="somebody else"):
        await tokens.authenticate(provider.token(aud=audience))


async def test_clocks_may_differ_by_half_a_minute(provider: Provider, tokens: AccessTokens) -> None:
    await tokens.authenticate(provider.token(exp=int(NOW.timestamp()) - 20, nbf=int(NOW.timestamp()) + 20))


async def test_a_token_signed_by_a_stranger_with_the_public_key_or_not_at_all_is_refused(
    provider: Provider, tokens: AccessTokens
) -> None:
    head, body, _ = provider.token().split(".")
    forged = [
        provider.token(key=RSAKey.generate_key(2048, {"kid": "first"})),
        _shared(body, provider.keys[0].as_pem(private=False)),
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"{head}.{body}.",
        f"{head}.{body[:-2]}AA.{provider.token().split('.')[2]}",
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            await tokens.authenticate(token)


def _shared(body: str, key: bytes) -> str:
    """Sign with the public key as if it were a shared secret: the old confusion of algorithms."""
    head = urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').rstrip(b"=").decode()
    mac = hmac.new(key, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_a_rotated_key_is_found_and_an_unknown_one_is_not_asked_for_again_and_again(
    provider: Provider, tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tokens.authenticate(provider.token())
    provider.keys.append(ECKey.generate_key("P-256", {"kid": "second"}))
    rotated = provider.token(header={"alg": "ES256", "kid": "second"})
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await tokens.authenticate(rotated)
    assert provider.asked == 1
    monkeypatch.setattr(issuers, "AGAIN", 0.0)
    assert (await tokens.authenticate(rotated)).user == "alice@example.com"


async def test_a_key_of_a_kind_that_is_not_known_here_closes_the_door_to_nobody(provider: Provider, tmp_path: Path) -> None:
    odd: list[Any] = [{"kty": "EC", "kid": "a", "crv": "BLS12381G1", "x": "AA", "y": "AA"}, {"kty": "NEW", "kid": "b"}, "c", {}]
    (tmp_path / "jwks").write_text(json.dumps({"keys": [*odd, provider.keys[0].as_dict(private=False)]}))
    known = AccessTokens([Issuer(provider.url, jwks_file=tmp_path / "jwks")], base=BASE, clock=lambda: NOW)
    assert (await known.authenticate(provider.token())).user == "alice@example.com"
    with pytest.raises(Unauthenticated, match="signature does not hold"):
        await known.authenticate(provider.token(header={"alg": "RS256", "kid": "b"}))


async def test_keys_that_somebody_on_the_way_could_change_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def found(*_: Any, **__: Any) -> None:
        asked.append("connected")
        raise OSError

    monkeypatch.setattr("broker.outgoing.Connector._resolve_host", found)
    for issuer in (Issuer("http://id.example.com"), Issuer("https://id.example.com", jwks_url="http://id.example.com/keys")):
        with pytest.raises(Unauthenticated, match="can't be had"):
            await issuers.Keys(issuer).of("first")
    assert asked == []


async def test_an_issuer_that_is_away_lets_nobody_in(tokens: AccessTokens, provider: Provider) -> None:
    away = AccessTokens([Issuer("http://127.0.0.1:9")], base=BASE, clock=lambda: NOW)
    with pytest.raises(Unauthenticated, match="can't be had"):
        await away.authenticate(provider.token(iss="http://127.0.0.1:9"))


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"', b" " * (outgoing.LARGEST + 1)], ids=["list", "half", "text", "endless"])
async def test_an_issuer_that_answers_with_something_else_lets_nobody_in(body: bytes) -> None:
    async def odd(seen: Seen, reply: Reply) -> None:
        await reply.raw(200, body, content_type="application/json")

    upstream = Upstream()
    upstream.on = {"GET": odd}
    async with serving(upstream) as url:
        with pytest.raises(Unauthenticated, match="can't be had"):
            await issuers.Keys(Issuer(url)).of("first")


async def test_an_issuer_that_does_not_answer_is_left_alone_for_a_second_and_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    now, provider = [1000.0], Provider()
    file = tmp_path / "jwks.json"
    keys = issuers.Keys(Issuer("https://id.example.com", jwks_file=file), monotonic=lambda: now[0])
    with pytest.raises(Unauthenticated, match="can't be had"):
        await keys.of("first")
    file.write_text(json.dumps({"keys": [provider.keys[0].as_dict(private=False)]}))
    with pytest.raises(Unauthenticated, match="can't be had"):
        await keys.of("first")
    now[0] += issuers.REST
    known = await keys.of("first")
    now[0] += issuers.AGAIN + 1
    async with keys._lock:  # somebody's unknown key is being asked for
        assert await keys.of("first") is known


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text() | st.lists(st.text(alphabet="abcABC012-_"), min_size=3, max_size=3).map(".".join))
async def test_no_garbage_is_a_token(tokens: AccessTokens, garbage: str) -> None:
    with pytest.raises(Unauthenticated):
        await tokens.authenticate(garbage)


async def test_a_token_that_was_recognised_is_judged_again_by_its_time(provider: Provider) -> None:
    clock = [NOW]
    tokens = AccessTokens([Issuer(provider.url)], base=BASE, clock=lambda: clock[0])
    token = provider.token()
    callers = [await tokens.authenticate(token) for _ in range(2)]
    assert callers[0] == callers[1]
    clock[0] = NOW + timedelta(minutes=5, seconds=31)
    with pytest.raises(Unauthenticated, match="expired"):
        await tokens.authenticate(token)


async def test_a_token_that_was_recognised_falls_with_the_key_that_its_issuer_withdraws(
    provider: Provider, tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = provider.token()
    assert [(await tokens.authenticate(token)).user for _ in range(3)] == ["alice@example.com"] * 3
    assert provider.asked == 1
    provider.keys = [RSAKey.generate_key(2048, {"kid": "second"})]
    monkeypatch.setattr(issuers, "FRESH", 0.0)
    with pytest.raises(Unauthenticated, match="signature does not hold"):
        await tokens.authenticate(token)


async def test_what_is_like_a_token_that_was_recognised_is_none(provider: Provider, tokens: AccessTokens) -> None:
    token = provider.token()
    await tokens.authenticate(token)
    head, body, signature = token.split(".")
    for other in (f"{head}.{body}.{signature[:-3]}AAA", f"{head}.{body}.", f"{head}.{body}", token + "\u00e9"):
        with pytest.raises(Unauthenticated):
            await tokens.authenticate(other)
