"""Signing in at an identity provider: one that lies on demand, and one that we did not write."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc.jwk import RSAKey
from playwright.async_api import expect

from broker.identity.oidc import Oidc, Provider
from broker.serving import listening
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, Site, served
from tests.fakes.identity_provider import IdentityProvider
from tests.node.install import install

OTHER = RSAKey.generate_key(2048, {"kid": "other"})
BACK = "/sign-in/with/corp/back"


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    runner = await provider.start()
    yield provider
    await runner.cleanup()


@pytest.fixture
async def site(store: Store, provider: IdentityProvider) -> AsyncIterator[Site]:
    oidc = Oidc([Provider("corp", provider.url, "approvals", "s3cret", "Corp")], store.credentials, clock=store.clock)
    async with served(store, oidc=oidc) as site:
        yield site


async def leave(site: Site, provider: IdentityProvider, after: str = "/") -> tuple[httpx2.AsyncClient, dict[str, str]]:
    """Begin a sign-in, and return the browser and what it was sent to the provider with."""
    client = site.stranger()
    answer = await client.get("/sign-in/with/corp", params={"after": after})
    assert answer.status_code == 303, answer.text
    return client, provider.sent(answer.headers["location"])


async def come_back(site: Site, provider: IdentityProvider, **query: str) -> httpx2.Response:
    client, sent = await leave(site, provider)
    return await client.get(BACK, params={"code": "c", "state": sent["state"]} | query)


async def test_somebody_signs_in_and_comes_to_the_page_that_they_wanted(site: Site, provider: IdentityProvider) -> None:
    assert "Sign in with Corp" in (await site.stranger().get("/sign-in")).text
    client, sent = await leave(site, provider, "/history")
    told = {"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method"}
    assert set(sent) == told
    assert (sent["redirect_uri"], sent["code_challenge_method"]) == (f"{site.url}{BACK}", "S256")
    answer = await client.get(BACK, params={"code": "the-code", "state": sent["state"]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/history")
    assert "Ann Lindqvist" in (await client.get("/")).text
    (exchange,) = provider.seen
    assert (exchange["code"], exchange["redirect_uri"]) == ("the-code", sent["redirect_uri"])
    assert len(exchange["code_verifier"]) >= 43
    assert exchange["authorization"].startswith("Basic ")
    assert "client_secret" not in exchange


async def test_the_groups_that_the_provider_vouches_for_count(store: Store, provider: IdentityProvider, site: Site) -> None:
    client, sent = await leave(site, provider)
    await client.get(BACK, params={"code": "c", "state": sent["state"]})
    signed_in = await site.sessions.find(client.cookies["broker"])
    assert signed_in is not None
    assert (signed_in.person, signed_in.groups, signed_in.session.how) == (ANN, ("idp-finance",), "corp")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"aud": "somebody-else"}, "another client"),
        ({"aud": ["approvals", "other"]}, "another party"),
        ({"aud": None}, "another client"),
        ({"exp": 1}, "a time that is over"),
        ({"exp": None}, "a time that is over"),
        ({"exp": "soon"}, "a time that is over"),
        ({"nonce": "of another round"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"sub": None}, "nobody"),
        ({"email_verified": False}, "not verified your address"),
        ({"email_verified": None}, "not verified your address"),
        ({"nonce": "\u00e9"}, "another sign-in"),
        ({"email": ""}, "tells no email"),
        ({"email": [ANN]}, "tells no email"),
        ({"email": ANN.replace("@", "\u200b@")}, "tells no email"),
        ({"email": "a" * 321}, "tells no email"),
    ],
    ids=str,
)
async def test_a_token_for_somebody_or_something_else_is_refused(
    site: Site, provider: IdentityProvider, claims: dict[str, Any], why: str
) -> None:
    provider.claims = claims
    answer = await come_back(site, provider)
    assert answer.status_code == 401
    assert why in answer.text
    assert "broker-session" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("forgery", ["none", "unknown key", "the public key as a secret", "another key under a known name"])
async def test_a_forged_signature_is_refused(site: Site, provider: IdentityProvider, forgery: str) -> None:
    match forgery:
        case "none":
            provider.header = {"alg": "none"}
        case "unknown key":
            provider.signer, provider.header = OTHER, {"alg": "RS256", "kid": "other"}
        case "the public key as a secret":
            provider.header = {"alg": "HS256", "kid": "first"}
        case _:
            provider.signer = OTHER
    answer = await come_back(site, provider)
    assert answer.status_code == 401
    assert "broker-session" not in answer.headers.get("set-cookie", "")


async def test_an_answer_works_once_and_in_the_browser_that_began(site: Site, provider: IdentityProvider) -> None:
    client, sent = await leave(site, provider)
    query = {"code": "c", "state": sent["state"]}
    assert (await site.stranger().get(BACK, params=query)).status_code == 401
    assert (await client.get(BACK, params=query)).status_code == 401, "a stolen answer ends the round"
    client, sent = await leave(site, provider)
    query = {"code": "c", "state": sent["state"]}
    assert (await client.get(BACK, params=query)).status_code == 303
    assert (await client.get(BACK, params=query)).status_code == 401


@pytest.mark.parametrize(
    "query", [{"state": "made-up"}, {"error": "access_denied"}, {"iss": "https://evil.example"}, {"state": ""}], ids=str
)
async def test_an_answer_that_nobody_asked_for_is_refused(site: Site, provider: IdentityProvider, query: dict[str, str]) -> None:
    assert (await come_back(site, provider, **query)).status_code == 401


async def test_a_round_begun_at_one_provider_does_not_end_at_another(store: Store, provider: IdentityProvider) -> None:
    providers = [Provider(name, provider.url, "approvals", "s", name) for name in ("corp", "evil")]
    async with served(store, oidc=Oidc(providers, store.credentials, clock=store.clock)) as site:
        client, sent = await leave(site, provider)
        assert (await client.get("/sign-in/with/evil/back", params={"code": "c", "state": sent["state"]})).status_code == 401


async def test_keys_may_rotate(site: Site, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await come_back(site, provider)).status_code == 303
    monkeypatch.setattr("broker.identity.issuers.AGAIN", 0.0)
    provider.published, provider.signer, provider.header = [OTHER], OTHER, {"alg": "RS256", "kid": "other"}
    assert (await come_back(site, provider)).status_code == 303


async def test_what_the_token_does_not_tell_the_userinfo_may(site: Site, provider: IdentityProvider) -> None:
    provider.claims = {"email": None, "email_verified": None, "groups": None}
    provider.userinfo = {"sub": "u-1", "email": "Ann@Example.com", "email_verified": True, "groups": ["g"]}
    assert (await come_back(site, provider)).status_code == 303
    provider.userinfo |= {"sub": "u-2"}
    assert (await come_back(site, provider)).status_code == 401


async def test_an_address_that_changed_hands_at_the_provider_opens_nothing(site: Site, provider: IdentityProvider) -> None:
    assert (await come_back(site, provider)).status_code == 303
    provider.claims = {"sub": "u-2"}
    answer = await come_back(site, provider)
    assert (answer.status_code, "belonged to another account" in answer.text) == (401, True)
    provider.claims = {"email": BO}
    assert "has changed" in (await come_back(site, provider)).text
    await site.parts.oidc.forget(ANN)  # type: ignore[attr-defined]  # the real one
    provider.claims = {"sub": "u-2"}
    assert (await come_back(site, provider)).status_code == 303


async def test_a_provider_that_calls_itself_otherwise_or_is_away_is_said_so(store: Store, provider: IdentityProvider) -> None:
    provider.discovery = {"issuer": "https://evil.example"}
    gone = Provider("gone", "http://127.0.0.1:9", "approvals")
    plain = Provider("plain", "http://corp.example", "approvals")
    corp = Provider("corp", provider.url, "approvals")
    async with served(store, oidc=Oidc([corp, gone, plain], store.credentials, clock=store.clock)) as site:
        told = {name: (await site.stranger().get(f"/sign-in/with/{name}")).text for name in ("corp", "gone", "plain", "missing")}
    for name, why in {
        "corp": "calls itself otherwise",
        "gone": "be asked now",
        "plain": "not https",
        "missing": "no such",
    }.items():
        assert why in told[name]


@pytest.mark.parametrize(
    "discovery",
    [
        {"token_endpoint": "https://[odd"},
        {"jwks_uri": 5},
        {"authorization_endpoint": None},
        {"token_endpoint": "http://id.example"},
    ],
    ids=str,
)
async def test_addresses_that_lead_nowhere_safe_are_a_refusal_and_no_failure(
    site: Site, provider: IdentityProvider, discovery: dict[str, Any]
) -> None:
    provider.discovery = discovery
    answer = await site.stranger().get("/sign-in/with/corp")
    assert (answer.status_code, "not https" in answer.text) == (401, True)


async def test_a_provider_that_does_not_say_how_clients_show_who_they_are_is_asked_as_by_default(
    site: Site, provider: IdentityProvider
) -> None:
    provider.discovery = {"token_endpoint_auth_methods_supported": None}
    assert (await come_back(site, provider)).status_code == 303
    assert provider.seen[0]["authorization"].startswith("Basic ")


@pytest.mark.parametrize("after", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_the_way_back_stays_here(site: Site, provider: IdentityProvider, after: str) -> None:
    client, sent = await leave(site, provider, after)
    assert (await client.get(BACK, params={"code": "c", "state": sent["state"]})).headers["location"] == "/"


# -- an identity provider that we did not write -------------------------------------------------------------------


@contextmanager
def okta(folder: Path, back: str) -> Iterator[str]:
    """The Okta of npm's `emulate`, with one user and one client."""
    node = install()
    seed = folder / "seed.json"
    client = {"client_id": "approvals", "client_secret": "s3cret", "name": "Approvals", "redirect_uris": [back]}
    told = {
        "users": [{"login": ANN, "email": ANN, "first_name": "Ann", "last_name": "Lindqvist"}],
        "groups": [{"name": "idp-finance", "description": "finance"}],
        "authorization_servers": [{"id": "default", "name": "default", "audiences": ["api://default"]}],
        "oauth_clients": [client | {"auth_server_id": "default"}],
    }
    seed.write_text(json.dumps({"okta": told}))
    script = Path(__file__).parents[2] / "fakes" / "okta_emulator.mjs"
    command = [str(node.program), str(script), str(node.modules), str(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rpartition(" ")[2].replace("127.0.0.1", "localhost")
        process.terminate()


async def test_somebody_signs_in_at_a_provider_that_we_did_not_write(store: Store, tmp_path: Path, browser: Any) -> None:
    listener = listening("127.0.0.1", 0)
    back = f"http://127.0.0.1:{listener.getsockname()[1]}/sign-in/with/okta/back"
    with okta(tmp_path, back) as url:
        provider = Provider("okta", f"{url}/oauth2/default", "approvals", "s3cret", "Okta")
        async with served(store, listener, oidc=Oidc([provider], store.credentials, clock=store.clock)) as site:
            request = await site.park()
            profile = await browser.new_context(base_url=site.url)
            page = await profile.new_page()
            await page.goto(f"/r/{request.id}")
            await page.get_by_role("link", name="Sign in with Okta").click()
            await page.get_by_text(ANN).first.click()
            await expect(page.get_by_role("heading", name="Refund 900 EUR to Acme")).to_be_visible(timeout=15_000)
            await page.get_by_role("button", name="Approve", exact=True).click()
            await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
            (review,) = (await site.store.requests.get(request.id)).reviews
            assert review.reviewer == ANN
