from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import anyio
import pytest

from broker.domain.calls import Caller
from broker.errors import ConfigInvalid, StoreUnavailable, Unauthenticated
from broker.identity.agents import AgentTokens
from broker.identity.ports import Credentials
from broker.identity.secrets import hash_of
from broker.store.credentials import HashedCredentials
from broker.store.open import Store
from tests.identity.conftest import Clock

DAY = timedelta(days=1)


async def test_a_token_gives_the_caller_that_it_was_made_for(credentials: HashedCredentials, clock: Clock) -> None:
    tokens = AgentTokens(credentials, clock=clock)
    secret = await tokens.add("bot", owner="dana@example.com", lasts=DAY, servers=("payments",), groups=("support",))
    assert await tokens.authenticate(f"Bearer {secret}") == Caller(
        agent="bot", owner="dana@example.com", servers=("payments",), groups=("support",)
    )


async def test_the_store_never_holds_the_secret(credentials: HashedCredentials, clock: Clock) -> None:
    secret = await AgentTokens(credentials, clock=clock).add("bot", owner="dana@example.com", lasts=DAY)
    (kept,) = await credentials.list("agent")
    assert kept.hash == hash_of(secret)
    assert secret.encode() not in kept.record


async def test_a_token_that_nobody_made_is_refused(credentials: HashedCredentials, clock: Clock) -> None:
    with pytest.raises(Unauthenticated):
        await AgentTokens(credentials, clock=clock).authenticate("Bearer broker-agent-" + "a" * 43)


async def test_a_token_is_refused_once_it_has_expired_though_it_was_just_used(
    credentials: HashedCredentials, clock: Clock
) -> None:
    tokens = AgentTokens(credentials, clock=clock)
    secret = await tokens.add("bot", owner="dana@example.com", lasts=DAY)
    await tokens.authenticate(f"Bearer {secret}")
    clock.forward(DAY)
    with pytest.raises(Unauthenticated, match="expired"):
        await tokens.authenticate(f"Bearer {secret}")


async def test_a_revocation_reaches_another_broker_within_a_second(
    store: Store, open_another: Callable[[str], AbstractAsyncContextManager[Store]], clock: Clock
) -> None:
    here = AgentTokens(store.credentials, clock=clock)
    secret = await here.add("bot", owner="dana@example.com", lasts=DAY)
    async with open_another("broker-2") as second:
        there = AgentTokens(second.credentials, clock=clock)
        await there.authenticate(f"Bearer {secret}")
        assert await here.revoke("bot") == 1
        with anyio.fail_after(1), pytest.raises(Unauthenticated):
            while True:
                await there.authenticate(f"Bearer {secret}")
                await anyio.lowlevel.checkpoint()


async def test_one_of_two_tokens_can_be_revoked_alone(credentials: HashedCredentials, clock: Clock) -> None:
    tokens = AgentTokens(credentials, clock=clock, fresh=0)
    old = await tokens.add("bot", owner="dana@example.com", lasts=DAY)
    clock.forward(timedelta(seconds=1))
    new = await tokens.add("bot", owner="dana@example.com", lasts=DAY)
    (old_id, _), (new_id, _) = await tokens.all("bot")
    assert await tokens.revoke("bot", old_id) == 1
    with pytest.raises(Unauthenticated):
        await tokens.authenticate(f"Bearer {old}")
    assert (await tokens.authenticate(f"Bearer {new}")).agent == "bot"
    assert [token_id for token_id, _ in await tokens.all()] == [new_id]


async def test_revoking_leaves_other_agents_alone(credentials: HashedCredentials, clock: Clock) -> None:
    tokens = AgentTokens(credentials, clock=clock)
    await tokens.add("bot", owner="dana@example.com", lasts=DAY)
    await tokens.add("bot-2", owner="dana@example.com", lasts=DAY)
    assert await tokens.revoke("bot") == 1
    assert [token.agent for _, token in await tokens.all()] == ["bot-2"]


class Cut:
    """The road to a store: `cut` breaks it."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.cut = False
        self.asked = 0

    async def get(self, kind: str, hash: str) -> bytes | None:
        self.asked += 1
        if self.cut:
            raise StoreUnavailable("cut")
        return await self._credentials.get(kind, hash)

    def __getattr__(self, name: str) -> object:
        return getattr(self._credentials, name)


async def test_while_the_store_is_away_nobody_is_let_in(credentials: HashedCredentials, clock: Clock) -> None:
    road = Cut(credentials)
    tokens = AgentTokens(road, clock=clock, fresh=0)  # type: ignore[arg-type]  # the rest goes through to the store
    secret = await tokens.add("bot", owner="dana@example.com", lasts=DAY)
    await tokens.authenticate(f"Bearer {secret}")
    road.cut = True
    with pytest.raises(StoreUnavailable):
        await tokens.authenticate(f"Bearer {secret}")


async def test_with_a_grace_a_known_token_stands_while_the_store_is_away_and_an_unknown_one_does_not(
    credentials: HashedCredentials, clock: Clock
) -> None:
    road = Cut(credentials)
    tokens = AgentTokens(road, clock=clock, fresh=0, grace=60)  # type: ignore[arg-type]  # the rest goes through to the store
    known, unknown = [await tokens.add(name, owner="dana@example.com", lasts=DAY) for name in ("known", "unknown")]
    await tokens.authenticate(f"Bearer {known}")
    road.cut = True
    assert (await tokens.authenticate(f"Bearer {known}")).agent == "known"
    with pytest.raises(StoreUnavailable):
        await tokens.authenticate(f"Bearer {unknown}")


async def test_the_allowed_road_asks_the_store_once_for_many_calls(credentials: HashedCredentials, clock: Clock) -> None:
    road = Cut(credentials)
    tokens = AgentTokens(road, clock=clock, monotonic=lambda: 7.0)  # type: ignore[arg-type]  # the rest goes through
    secret = await tokens.add("bot", owner="dana@example.com", lasts=DAY)
    for _ in range(100):
        await tokens.authenticate(f"Bearer {secret}")
    assert road.asked == 1


async def test_an_agents_surface_is_that_of_its_token_and_so_is_its_hold(credentials: HashedCredentials, clock: Clock) -> None:
    tokens = AgentTokens(credentials, clock=clock)
    secret = await tokens.add("bot", owner="dana@example.com", lasts=DAY, surface="webapp", hold=timedelta(seconds=30))
    plain = await tokens.add("bot", owner="dana@example.com", lasts=DAY)
    through, without = [await tokens.authenticate(f"Bearer {one}") for one in (secret, plain)]
    assert (through.surface, without.surface) == ("webapp", "")
    assert (through.hold, without.hold) == (30.0, 0.0)
    assert through.principal != without.principal


@pytest.mark.parametrize("name", ["", "*", " bot", "bot\n", "b\u202eot"])
async def test_no_agent_has_the_name_of_all_agents_nor_one_that_can_not_be_seen(
    credentials: HashedCredentials, clock: Clock, name: str
) -> None:
    with pytest.raises(ConfigInvalid, match="name is plain text"):
        await AgentTokens(credentials, clock=clock).add(name, owner="sam@example.com", lasts=timedelta(hours=1))
    assert await AgentTokens(credentials, clock=clock).all() == []
