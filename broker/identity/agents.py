"""Agents' tokens: made once, kept as hashes, asked for with every call."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from broker.approvals.stops import EVERYBODY
from broker.domain.calls import Caller
from broker.errors import ConfigInvalid, StoreUnavailable, Unauthenticated
from broker.identity.ports import Credentials
from broker.identity.secrets import Kind, bearer, hash_of, new_secret

_KEPT_IN_MEMORY = 10_000


class AgentToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one token stands for. `servers` None: every server that the policy lets it use.

    `owner` is the person to whom the agent belongs; `user` the one for whom it always acts, where that is fixed;
    `surface` the chat, IDE or bot that it is part of; `hold` the seconds that its calls are held, 0 as its client waits.
    """

    agent: str
    owner: str
    made_at: datetime
    expires_at: datetime
    servers: tuple[str, ...] | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    surface: str = ""
    hold: float = 0.0

    def caller(self) -> Caller:
        return Caller(
            agent=self.agent, user=self.user, groups=self.groups, owner=self.owner, servers=self.servers, surface=self.surface,
            hold=self.hold,
        )  # fmt: skip


class _Remembered(msgspec.Struct, frozen=True):
    token: AgentToken
    caller: Caller
    at: float


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AgentToken).decode


class AgentTokens:
    """Makes, lists, revokes and recognises agents' tokens.

    A token that was just looked up is taken as good for `fresh` seconds, so a revocation reaches every broker within that
    time. While the store is away a token stands for `grace` seconds more (0: it doesn't, and nobody is let in).
    """

    def __init__(
        self, credentials: Credentials, *, clock: Callable[[], datetime], fresh: float = 0.5, grace: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._credentials = credentials
        self._clock = clock
        self._fresh = fresh
        self._grace = grace
        self._monotonic = monotonic
        self._known: dict[str, _Remembered] = {}

    async def add(  # noqa: PLR0913 - all that a token may stand for, by name
        self, agent: str, *, owner: str, lasts: timedelta, servers: tuple[str, ...] | None = None, user: str = "",
        groups: tuple[str, ...] = (), surface: str = "", hold: timedelta = timedelta(),
    ) -> str:  # fmt: skip
        """Make a token and return its secret: the only time that it can be read. Raises `ConfigInvalid` for what is no name."""
        if agent in ("", EVERYBODY) or not agent.isprintable() or agent != agent.strip():
            raise ConfigInvalid("an agent's name is plain text, and not *: that stands for all agents where they are stopped")
        secret, now = new_secret(Kind.AGENT), self._clock()
        token = AgentToken(agent, owner, now, now + lasts, servers, user, groups, surface, hold.total_seconds())
        await self._credentials.put(Kind.AGENT, hash_of(secret), _encode(token), holder=agent, ttl=lasts)
        return secret

    async def all(self, agent: str = "") -> list[tuple[str, AgentToken]]:
        """Return (id, token) of one agent or of all, in the order of names. The id is the head of the hash."""
        kept = await self._credentials.list(Kind.AGENT, agent)
        return sorted(((one.hash[:8], _decode(one.record)) for one in kept), key=lambda pair: (pair[1].agent, pair[1].made_at))

    async def revoke(self, agent: str, token_id: str = "") -> int:
        """Delete every token of an agent, or the one whose id is given. Returns how many."""
        kept = await self._credentials.list(Kind.AGENT, agent)
        doomed = [one.hash for one in kept if token_id in ("", one.hash[:8])]
        return sum([await self._credentials.delete(Kind.AGENT, hash) for hash in doomed])

    async def authenticate(self, authorization: str | None) -> Caller:
        """Return who is behind an Authorization header. Raises `Unauthenticated`, or `StoreUnavailable` if it can't be known."""
        hash = hash_of(bearer(authorization, Kind.AGENT))
        known, now = self._known.get(hash), self._monotonic()
        if known is None or now - known.at > self._fresh:
            known = await self._look(hash, known, now)
        if known.token.expires_at <= self._clock():
            raise Unauthenticated("the token has expired")
        return known.caller

    async def _look(self, hash: str, known: _Remembered | None, now: float) -> _Remembered:
        try:
            record = await self._credentials.get(Kind.AGENT, hash)
        except StoreUnavailable:
            if known is None or now - known.at > self._grace:
                raise
            return known
        if record is None:
            self._known.pop(hash, None)
            raise Unauthenticated("the token is not known")
        if len(self._known) >= _KEPT_IN_MEMORY:
            self._known.clear()
        # `now` was read before the store was asked, so that a revocation during the question counts too.
        token = _decode(record)
        self._known[hash] = found = _Remembered(token, token.caller(), now)
        return found
