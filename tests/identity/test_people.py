from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from broker.errors import Forbidden, Unauthenticated
from broker.identity.people import PersonTokens, Scope, SignInLinks
from broker.store.credentials import HashedCredentials
from tests.identity.conftest import Clock

ANN = "ann@example.com"


async def test_a_persons_token_gives_the_person_and_its_scopes(credentials: HashedCredentials, clock: Clock) -> None:
    tokens = PersonTokens(credentials, clock=clock)
    secret = await tokens.add(ANN, scopes=(Scope.READ,), lasts=timedelta(days=1))
    token = await tokens.authenticate(f"Bearer {secret}")
    assert (token.person, token.scopes) == (ANN, (Scope.READ,))
    token.require("read")
    with pytest.raises(Forbidden, match="review"):
        token.require("review")


async def test_a_persons_token_ends_with_its_time_and_with_its_revocation(credentials: HashedCredentials, clock: Clock) -> None:
    tokens = PersonTokens(credentials, clock=clock)
    first = await tokens.add(ANN, scopes=(Scope.READ,), lasts=timedelta(days=1))
    second = await tokens.add(ANN, scopes=(Scope.READ,), lasts=timedelta(days=9))
    clock.forward(timedelta(days=1))
    with pytest.raises(Unauthenticated, match="expired"):
        await tokens.authenticate(f"Bearer {first}")
    await tokens.authenticate(f"Bearer {second}")
    assert await tokens.revoke(ANN) == 2
    with pytest.raises(Unauthenticated):
        await tokens.authenticate(f"Bearer {second}")


async def test_an_agents_token_is_no_persons_token(credentials: HashedCredentials, clock: Clock) -> None:
    with pytest.raises(Unauthenticated, match="kind `agent`"):
        await PersonTokens(credentials, clock=clock).authenticate("Bearer broker-agent-" + "a" * 43)


async def test_a_link_signs_in_once_though_it_was_looked_at_before(credentials: HashedCredentials, clock: Clock) -> None:
    links = SignInLinks(credentials, clock=clock)
    secret = await links.add(ANN)
    for _ in range(3):
        assert (await links.look(secret)).person == ANN
    assert (await links.use(secret, loopback=False)).person == ANN
    with pytest.raises(Unauthenticated):
        await links.use(secret, loopback=False)


async def test_of_many_who_use_a_link_at_once_one_gets_in(credentials: HashedCredentials, clock: Clock) -> None:
    links = SignInLinks(credentials, clock=clock)
    secret = await links.add(ANN)
    let_in = []

    async def use() -> None:
        try:
            let_in.append(await links.use(secret, loopback=True))
        except Unauthenticated:
            return

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(use)
    assert len(let_in) == 1


async def test_a_link_is_good_for_ten_minutes(credentials: HashedCredentials, clock: Clock) -> None:
    links = SignInLinks(credentials, clock=clock)
    secret = await links.add(ANN)
    clock.forward(timedelta(minutes=10))
    with pytest.raises(Unauthenticated):
        await links.look(secret)
    with pytest.raises(Unauthenticated):
        await links.use(secret, loopback=True)


async def test_a_demo_link_works_many_times_and_only_on_the_loopback(credentials: HashedCredentials, clock: Clock) -> None:
    links = SignInLinks(credentials, clock=clock)
    secret = await links.add(ANN, many=True)
    assert [(await links.use(secret, loopback=True)).person for _ in range(2)] == [ANN, ANN]
    with pytest.raises(Unauthenticated, match="machine where the broker runs"):
        await links.use(secret, loopback=False)


@pytest.mark.parametrize("secret", ["", "x", "broker-link-" + "a" * 43, "broker-person-" + "a" * 43])
async def test_what_is_no_link_is_refused(secret: str, credentials: HashedCredentials, clock: Clock) -> None:
    with pytest.raises(Unauthenticated):
        await SignInLinks(credentials, clock=clock).use(secret, loopback=True)
