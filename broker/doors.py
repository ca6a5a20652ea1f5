"""The doors of identity, wired: agents and their tokens, people, browsers, passkeys, outside issuers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from broker.identity.access_tokens import AccessTokens
from broker.identity.agents import AgentTokens
from broker.identity.callers import Callers
from broker.identity.issuers import Issuer
from broker.identity.oidc import Oidc, Provider
from broker.identity.passkeys import Passkeys
from broker.identity.people import PersonTokens, SignInLinks
from broker.identity.proxies import ProxySignIn, TrustedProxies
from broker.identity.sessions import Sessions
from broker.settings import Settings
from broker.store.open import Store

# Seconds that a known agent stays known while the store is away, where allowed calls pass without it.
GRACE = 900.0


@dataclass(frozen=True)
class Identity:
    """Who is it: `callers` for calls, the others for people and their browsers."""

    agents: AgentTokens
    people: PersonTokens
    links: SignInLinks
    sessions: Sessions
    passkeys: Passkeys
    oidc: Oidc
    proxy: ProxySignIn
    callers: Callers


def identity_of(store: Store, settings: Settings, clock: Callable[[], datetime]) -> Identity:
    """Return the doors of identity on an open store."""
    kept = store.credentials
    issuers = [Issuer(**issuer.model_dump(), networks=settings.private_networks) for issuer in settings.oauth_issuers]
    proxies = TrustedProxies(settings.trusted_proxies)
    agents = AgentTokens(kept, clock=clock, grace=GRACE if settings.on_store_down == "allow" else 0.0)
    return Identity(
        agents,
        PersonTokens(kept, clock=clock),
        SignInLinks(kept, clock=clock),
        Sessions(kept, clock=clock),
        Passkeys(kept, clock=clock),
        Oidc(_providers(settings), kept, clock=clock),
        ProxySignIn(proxies, settings.sign_in_header),
        Callers(
            agents,
            AccessTokens(issuers, base=settings.public_url, clock=clock),
            proxies,
            open_loopback=settings.open_loopback,
        ),
    )


def _providers(settings: Settings) -> list[Provider]:
    told = ((one, one.model_dump(exclude={"client_secret"})) for one in settings.sign_in)
    return [
        Provider(
            client_secret=one.client_secret.get_secret_value() if one.client_secret else "",
            networks=settings.private_networks,
            **rest,
        )
        for one, rest in told
    ]
