"""A trusted proxy in front signs people in: its word counts from its own address, at every request, and from nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from broker.errors import ConfigInvalid
from broker.identity.proxies import ProxySignIn, TrustedProxies, Vouched
from broker.settings import load_settings
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, Site, served

# Tests come from the loopback, so that is where the proxy lies; 203.0.113.0/24 is where it does not.
HERE, ELSEWHERE = TrustedProxies(["127.0.0.1/32"]), TrustedProxies(["203.0.113.0/24"])
SAYS_ANN = {"x-forwarded-email": ANN}


@pytest.fixture
async def proxied(store: Store) -> AsyncIterator[Site]:
    async with served(store, proxy=ProxySignIn(HERE, "X-Forwarded-Email")) as site:
        yield site


async def entered(site: Site, headers: dict[str, str]) -> httpx2.AsyncClient:
    """Come through the proxy, and follow where the broker leads."""
    client = site.stranger()
    client.headers.update(headers)
    asked = await client.get("/account")
    assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in/proxy?after=/account")
    begun = await client.get(asked.headers["location"])
    assert (begun.status_code, begun.headers["location"]) == (303, "/account")
    return client


async def test_whom_the_proxy_names_has_a_session_like_any_other(proxied: Site) -> None:
    ann = await entered(proxied, SAYS_ANN | {"x-forwarded-groups": "finance, ops"})
    assert "Ann Lindqvist" in (await ann.get("/account")).text
    (session,) = await proxied.sessions.all(ANN)
    assert (session[1].how, session[1].groups) == ("a proxy", ("finance", "ops"))
    request = await proxied.park()
    assert (await proxied.review(ann, request, "approve")).status_code == 303
    await ann.post("/sign-out", data={"csrf": await proxied.csrf(ann)})
    assert "Go on as Ann Lindqvist" in (await ann.get("/sign-in")).text
    assert await proxied.sessions.all(ANN) == []


async def test_a_planted_cookie_is_never_the_session(proxied: Site) -> None:
    client = proxied.stranger()
    client.cookies.set("broker", planted := "broker-session-" + "a" * 43)
    await client.get("/sign-in/proxy", headers=SAYS_ANN)
    assert client.cookies.get("broker", domain="127.0.0.1") not in (None, planted)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-forwarded-email": BO},
        {"x-forwarded-email": ""},
        SAYS_ANN | {"x-forwarded-groups": "security"},
        {"x-forwarded-user": ANN},
    ],
    ids=str,
)
async def test_the_session_is_good_only_while_the_proxy_says_the_same(proxied: Site, headers: dict[str, str]) -> None:
    ann = await entered(proxied, SAYS_ANN)
    past = proxied.stranger()
    past.cookies.set("broker", ann.cookies["broker"])
    answer = await past.get("/account", headers=headers)
    assert (answer.status_code, answer.headers["location"].split("?")[0].startswith("/sign-in")) == (303, True)
    assert (await ann.get("/account")).status_code == 200


async def test_without_its_header_a_proxy_brings_people_to_the_usual_sign_in(proxied: Site) -> None:
    client = proxied.stranger()
    assert (await client.get("/account")).headers["location"] == "/sign-in?after=/account"
    assert (await client.get("/sign-in/proxy")).status_code == 401
    assert (await client.get("/sign-in/proxy", headers={"x-forwarded-user": ANN})).status_code == 401
    by_link = await proxied.visitor(BO)
    assert (await by_link.get("/account", headers=SAYS_ANN)).status_code == 200  # who signed in by other means stays who they are


@pytest.mark.parametrize(
    "proxy", [ProxySignIn(ELSEWHERE, "X-Forwarded-Email"), ProxySignIn(HERE), ProxySignIn(TrustedProxies(), "X-Forwarded-Email")]
)
async def test_from_anybody_else_the_header_means_nothing(store: Store, proxy: ProxySignIn) -> None:
    async with served(store, proxy=proxy) as site:
        for headers in (SAYS_ANN, SAYS_ANN | {"x-forwarded-for": "203.0.113.7"}, SAYS_ANN | {"x-real-ip": "203.0.113.7"}):
            client = site.stranger()
            assert (await client.get("/account", headers=headers)).headers["location"] == "/sign-in?after=/account"
            assert (await client.get("/sign-in/proxy", headers=headers)).status_code == 401
            assert client.cookies.get("broker") is None
        assert await site.sessions.all(ANN) == []


@pytest.mark.parametrize(
    ("address", "headers", "found"),
    [
        ("127.0.0.1", {"x-mail": ["Ann@Example.com "], "x-forwarded-groups": ["a, b"]}, Vouched(ANN, ("a", "b"))),
        ("::ffff:127.0.0.1", {"x-mail": [ANN]}, Vouched(ANN)),
        ("127.0.0.1", {"x-mail": [ANN, BO]}, None),
        ("127.0.0.1", {"x-mail": [ANN], "x-forwarded-groups": ["a", "b"]}, None),
        ("127.0.0.1", {"x-mail": ["ann\x00@example.com"]}, None),
        ("127.0.0.1", {"x-mail": ["a" * 321]}, None),
        ("127.0.0.1", {"x-mail": [" "]}, None),
        ("127.0.0.2", {"x-mail": [ANN]}, None),
        ("", {"x-mail": [ANN]}, None),
        ("/run/broker.sock", {"x-mail": [ANN]}, None),
    ],
)
def test_what_is_a_proxys_word(address: str, headers: dict[str, list[str]], found: Vouched | None) -> None:
    assert ProxySignIn(HERE, "X-Mail").look(address, lambda name: headers.get(name, [])) == found


def test_a_header_without_a_proxy_is_no_setting() -> None:
    with pytest.raises(ConfigInvalid, match="trusted_proxies"):
        load_settings(sign_in_header="X-Forwarded-Email")
