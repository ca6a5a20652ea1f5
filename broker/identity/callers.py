"""Who calls: one door for all credentials that agents may bring, tried by their shape."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from broker.domain.calls import Caller
from broker.domain.peers import NOBODY, Peer
from broker.identity.access_tokens import AccessTokens
from broker.identity.agents import AgentTokens
from broker.identity.proxies import TrustedProxies, on_this_machine, together
from broker.identity.secrets import carried, kind_of

LOOPBACK = Caller(agent="loopback")


class Callers:
    """Agents' own tokens, access tokens of trusted issuers, and the words of trusted proxies.

    `open_loopback`: whoever speaks from this machine without a token is let in as the agent `loopback`.
    """

    def __init__(
        self, agents: AgentTokens, tokens: AccessTokens, proxies: TrustedProxies | None = None, *, open_loopback: bool = False
    ) -> None:  # fmt: skip
        self._agents = agents
        self._tokens = tokens
        self._proxies = proxies or TrustedProxies()
        self._open_loopback = open_loopback

    async def authenticate(self, authorization: str | None, peer: Peer = NOBODY) -> Caller:
        """Return who is behind an Authorization header, or who a trusted proxy says it is.

        A token counts before a proxy's word. Raises `Unauthenticated`, `StoreUnavailable`.
        """
        vouched = self._proxies.vouched(peer)
        if authorization is None:
            if vouched is not None:
                return vouched
            if self._open_loopback and on_this_machine(peer):
                return LOOPBACK
        return together(await self._bearer(authorization), vouched)

    def _bearer(self, authorization: str | None) -> Coroutine[Any, Any, Caller]:
        token = carried(authorization) if authorization and self._tokens.on else None
        if token is None or kind_of(token) is not None:
            return self._agents.authenticate(authorization)
        return self._tokens.authenticate(token)
