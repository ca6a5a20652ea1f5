"""Web sessions: a random id in a cookie, its hash in the store, idle and absolute limits."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from broker.identity.ports import Credentials
from broker.identity.secrets import Kind, hash_of, kind_of, new_secret

_TOUCH_EVERY = timedelta(minutes=1)


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signed-in browser. `groups` are those that the sign-in vouches for; `how` names it (`link`, `oidc`)."""

    person: str
    how: str
    started_at: datetime
    seen_at: datetime
    groups: tuple[str, ...] = ()
    software: str = ""
    address: str = ""


class SignedIn(msgspec.Struct, frozen=True):
    """A session and the secret of its cookie."""

    secret: str
    session: Session

    @property
    def id(self) -> str:
        """The name under which people see the session in their list: the head of its hash."""
        return hash_of(self.secret)[:12]

    @property
    def person(self) -> str:
        return self.session.person

    @property
    def how(self) -> str:
        return self.session.how

    @property
    def groups(self) -> tuple[str, ...]:
        return self.session.groups

    @property
    def started_at(self) -> datetime:
        return self.session.started_at

    @property
    def csrf(self) -> str:
        """The token that every form of this session carries: useless in any other session."""
        return hmac.new(self.secret.encode(), b"csrf", hashlib.sha256).hexdigest()

    def posted(self, token: str) -> bool:
        """Is this the session's own form token? Compared in constant time."""
        return hmac.compare_digest(token.encode(), self.csrf.encode())


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Session).decode


class Sessions:
    """Starts, finds and ends sessions. An anonymous visitor has none, and a cookie that we did not make is never adopted."""

    def __init__(
        self, credentials: Credentials, *, clock: Callable[[], datetime],
        idle: timedelta = timedelta(hours=8), absolute: timedelta = timedelta(hours=24),
    ) -> None:  # fmt: skip
        self._credentials = credentials
        self._clock = clock
        self._idle = idle
        self._absolute = absolute

    async def start(
        self, person: str, *, how: str, groups: tuple[str, ...] = (), software: str = "", address: str = "", instead: str = ""
    ) -> SignedIn:
        """Begin a session under a fresh id; the one whose cookie came along (`instead`) ends."""
        if instead:
            await self.end(instead)
        now = self._clock()
        session = Session(person, how, now, now, groups, software[:200], address)
        secret = new_secret(Kind.SESSION)
        await self._credentials.put(Kind.SESSION, hash_of(secret), _encode(session), holder=person, ttl=self._idle)
        return SignedIn(secret, session)

    async def rotate(self, signed_in: SignedIn) -> SignedIn:
        """Give a session a fresh id, its limits unchanged: after a passkey, the old cookie opens nothing."""
        secret = new_secret(Kind.SESSION)
        await self._credentials.put(
            Kind.SESSION, hash_of(secret), _encode(signed_in.session), holder=signed_in.person, ttl=self._idle
        )
        await self.end(signed_in.secret)
        return SignedIn(secret, signed_in.session)

    async def find(self, secret: str) -> SignedIn | None:
        """Return the session of a cookie, None where there is none or its time is over."""
        if kind_of(secret) is not Kind.SESSION:
            return None
        record = await self._credentials.get(Kind.SESSION, hash_of(secret))
        if record is None:
            return None
        session, now = _decode(record), self._clock()
        if now - session.started_at >= self._absolute or now - session.seen_at >= self._idle:
            await self.end(secret)
            return None
        if now - session.seen_at < _TOUCH_EVERY:
            return SignedIn(secret, session)
        return await self._touched(secret, msgspec.structs.replace(session, seen_at=now))

    async def _touched(self, secret: str, session: Session) -> SignedIn | None:
        kept = await self._credentials.renew(
            Kind.SESSION, hash_of(secret), _encode(session), holder=session.person, ttl=self._idle
        )
        return SignedIn(secret, session) if kept else None

    async def end(self, secret: str) -> None:
        if kind_of(secret) is Kind.SESSION:
            await self._credentials.delete(Kind.SESSION, hash_of(secret))

    async def all(self, person: str) -> list[tuple[str, Session]]:
        """Return (id, session) of one person, latest first."""
        kept = await self._credentials.list(Kind.SESSION, person)
        found = ((one.hash[:12], _decode(one.record)) for one in kept)
        return sorted(found, key=lambda pair: pair[1].seen_at, reverse=True)

    async def end_all(self, person: str, session_id: str = "") -> int:
        """End every session of a person, or the one whose id is given. Returns how many."""
        kept = await self._credentials.list(Kind.SESSION, person)
        doomed = [one.hash for one in kept if session_id in ("", one.hash[:12])]
        return sum([await self._credentials.delete(Kind.SESSION, hash) for hash in doomed])
