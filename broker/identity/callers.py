"""Who calls: one door for all credentials that agents may bring, tried by their shape."""

from __future__ import annotations

import re

from broker.domain.calls import Caller
from broker.identity.access_tokens import AccessTokens
from broker.identity.agents import AgentTokens
from broker.identity.secrets import kind_of

_BEARER = re.compile(r"Bearer +(\S+)", re.ASCII | re.IGNORECASE)


class Callers:
    """Agents' own tokens, and access tokens of trusted issuers."""

    def __init__(self, agents: AgentTokens, tokens: AccessTokens) -> None:
        self._agents = agents
        self._tokens = tokens

    async def authenticate(self, authorization: str | None) -> Caller:
        """Return who is behind an Authorization header. Raises `Unauthenticated`, `StoreUnavailable`."""
        brought = _BEARER.fullmatch(authorization.strip()) if authorization else None
        if brought is None or kind_of(brought[1]) is not None or not self._tokens.on:
            return await self._agents.authenticate(authorization)
        return await self._tokens.authenticate(brought[1])
