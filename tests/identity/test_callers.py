"""One door for tokens, for the words of trusted proxies, and for this machine where it is open."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.domain.calls import Caller
from broker.domain.peers import NOBODY, Peer
from broker.errors import ConfigInvalid, Unauthenticated
from broker.identity.access_tokens import AccessTokens
from broker.identity.agents import AgentTokens
from broker.identity.callers import LOOPBACK, Callers
from broker.identity.proxies import TrustedProxies
from broker.settings import load_settings
from broker.store.credentials import HashedCredentials
from tests.fakes.provider import BASE
from tests.identity.conftest import Clock

WORKLOAD = "spiffe://example.com/web"
CERTIFICATE = f"Hash=ab;URI={WORKLOAD}"
PROXY = "10.1.2.3"


@pytest.fixture
def agents(credentials: HashedCredentials, clock: Clock) -> AgentTokens:
    return AgentTokens(credentials, clock=clock)


@pytest.fixture
def callers(agents: AgentTokens, clock: Clock) -> Callers:
    return Callers(agents, AccessTokens([], base=BASE, clock=clock), TrustedProxies(["10.1.2.0/28", "fd00::/64"]))


@pytest.mark.parametrize(
    ("peer", "caller"),
    [
        (Peer(PROXY, "alice@example.com", "support, ads"), Caller(user="alice@example.com", groups=("support", "ads"))),
        (Peer("fd00::7", "alice@example.com"), Caller(user="alice@example.com")),
        (Peer("::ffff:10.1.2.3", "alice@example.com"), Caller(user="alice@example.com")),
        (Peer(PROXY, certificate=CERTIFICATE), Caller(workload=WORKLOAD)),
        (Peer(PROXY, groups="finance", certificate=CERTIFICATE), Caller(workload=WORKLOAD)),
        (
            Peer(PROXY, "alice@example.com", "support", CERTIFICATE),
            Caller(agent=WORKLOAD, user="alice@example.com", workload=WORKLOAD, groups=("support",)),
        ),
    ],
)
async def test_a_trusted_proxy_says_who_calls(callers: Callers, peer: Peer, caller: Caller) -> None:
    assert await callers.authenticate(None, peer) == caller


@pytest.mark.parametrize(
    "peer",
    [
        NOBODY,
        Peer("10.1.2.16", "alice@example.com", "support", CERTIFICATE),
        Peer("127.0.0.1", "alice@example.com"),
        Peer("", "alice@example.com"),
        Peer("a socket", "alice@example.com"),
        Peer(PROXY),
        Peer(PROXY, groups="finance"),
        Peer(PROXY, certificate="URI=https://example.com/web"),
        Peer(PROXY, "alice@example.com", certificate=f"URI={WORKLOAD};URI={WORKLOAD}2"),
        Peer(PROXY, certificate="URI=spiffe://Example.com/web"),
    ],
)
async def test_from_anybody_else_and_without_a_name_nobody_is_known(callers: Callers, peer: Peer) -> None:
    with pytest.raises(Unauthenticated):
        await callers.authenticate(None, peer)


async def test_a_token_counts_before_the_proxy_which_adds_the_workload(callers: Callers, agents: AgentTokens) -> None:
    free = await agents.add("bot", owner="dana@example.com", lasts=timedelta(days=1))
    fixed = await agents.add("bot", owner="dana@example.com", user="alice@example.com", lasts=timedelta(days=1))
    assert await callers.authenticate(f"Bearer {free}", Peer(PROXY, "mallory@example.com", "finance", CERTIFICATE)) == Caller(
        agent="bot", owner="dana@example.com", workload=WORKLOAD
    )
    with pytest.raises(Unauthenticated, match="different users"):
        await callers.authenticate(f"Bearer {fixed}", Peer(PROXY, "mallory@example.com"))
    with pytest.raises(Unauthenticated):
        await callers.authenticate("Bearer broker-agent-" + "a" * 43, Peer(PROXY, "alice@example.com"))


@pytest.mark.parametrize("name", ["alice\xa0@example.com", "alice@example.com\x85", "a" * 321])
async def test_a_proxy_that_names_somebody_who_only_looks_like_another_names_nobody(callers: Callers, name: str) -> None:
    with pytest.raises(Unauthenticated, match="can't be read"):
        await callers.authenticate(None, Peer(PROXY, name))


async def test_this_machine_needs_no_token_only_where_it_was_opened_and_nothing_stands_between(
    callers: Callers, agents: AgentTokens, clock: Clock
) -> None:
    opened = Callers(agents, AccessTokens([], base=BASE, clock=clock), open_loopback=True)
    for address in ("127.0.0.1", "::1"):
        assert await opened.authenticate(None, Peer(address)) == LOOPBACK
        with pytest.raises(Unauthenticated):
            await callers.authenticate(None, Peer(address))
    for peer in (Peer("10.0.0.1"), Peer("127.0.0.1", direct=False), Peer(""), NOBODY):
        with pytest.raises(Unauthenticated):
            await opened.authenticate(None, peer)
    with pytest.raises(Unauthenticated):
        await opened.authenticate("Bearer nonsense", Peer("127.0.0.1"))


@pytest.mark.parametrize("named", [{"host": "0.0.0.0"}, {"host": "10.0.0.1"}, {"public_url": "https://approvals.example.com"}])
def test_a_broker_that_others_reach_is_not_opened(named: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match="open_loopback"):
        load_settings(open_loopback=True, **named)


@pytest.mark.parametrize("network", ["10.0.0.1/8", "everybody", "10.0.0.0/40", ""])
def test_a_network_that_is_none_is_no_setting(network: str) -> None:
    with pytest.raises(ConfigInvalid, match="trusted_proxies"):
        load_settings(trusted_proxies=(network,))
