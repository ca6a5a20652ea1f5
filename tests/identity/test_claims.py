"""What the claims of an access token make of its caller."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import Unauthenticated
from broker.identity.access_tokens import AccessTokens
from broker.identity.issuers import Issuer
from tests.fakes.provider import BASE, NOW, Provider


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "0oa1", "client_id": None, "cid": "0oa1"},
        {"sub": "abc@clients", "client_id": None, "azp": "abc", "gty": "client-credentials"},
        {"sub": "abc@clients", "client_id": None, "azp": "abc"},
        {"sub": "8d2f", "client_id": None, "appid": "77aa", "idtyp": "app"},
        {"sub": "8d2f", "client_id": "reporting", "preferred_username": "service-account-reporting"},
        {"sub": "abc@clients", "client_id": "web", "gty": "client-credentials", "act": {"sub": "web"}},
        {"sub": "0oa1", "client_id": None, "cid": "0oa1", "act": {"sub": "web"}},
    ],
    ids=["Okta", "Auth0", "Auth0 without its grant", "Entra", "Keycloak", "exchanged", "exchanged by itself"],
)
async def test_a_client_with_a_token_for_itself_is_a_service_however_its_issuer_says_so(
    provider: Provider, tokens: AccessTokens, claims: dict[str, Any]
) -> None:
    caller = await tokens.authenticate(provider.token(**claims))
    assert (caller.user, caller.workload) == ("", claims["sub"])


async def test_a_client_is_a_service_also_where_users_are_named_by_another_claim(provider: Provider) -> None:
    tokens = AccessTokens([Issuer(provider.url, user_claim="name")], base=BASE, clock=lambda: NOW)
    caller = await tokens.authenticate(provider.token(sub="abc", client_id="abc", name="Reporting"))
    assert (caller.user, caller.workload) == ("", "Reporting")
    assert (await tokens.authenticate(provider.token(name="Alice"))).user == "Alice"


async def test_a_user_of_such_an_issuer_is_none(provider: Provider, tokens: AccessTokens) -> None:
    told = provider.token(client_id=None, cid="0oa1", idtyp="user", preferred_username="alice")
    caller = await tokens.authenticate(told)
    assert (caller.agent, caller.user, caller.workload) == ("0oa1", "alice@example.com", "")


async def test_an_address_that_its_issuer_has_not_verified_names_nobody(provider: Provider) -> None:
    tokens = AccessTokens([Issuer(provider.url, user_claim="email")], base=BASE, clock=lambda: NOW)
    assert (await tokens.authenticate(provider.token(email="a@example.com"))).user == "a@example.com"
    with pytest.raises(Unauthenticated, match="not verified"):
        await tokens.authenticate(provider.token(email="a@example.com", email_verified=False))


async def test_of_groups_only_names_count(provider: Provider, tokens: AccessTokens) -> None:
    assert (await tokens.authenticate(provider.token(groups=["support", 7, None, ["finance"]]))).groups == ("support",)
