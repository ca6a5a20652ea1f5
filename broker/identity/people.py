"""People's tokens for the HTTP API, and sign-in links."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from broker.errors import Forbidden, Unauthenticated
from broker.identity.ports import Credentials
from broker.identity.secrets import Kind, bearer, hash_of, kind_of, new_secret

LINK_LASTS = timedelta(minutes=10)


class Scope(StrEnum):
    READ = "read"
    REVIEW = "review"
    AUTHZ = "authz"
    SERVERS = "servers"


class PersonToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person's own token. `scopes` say what it may do; the person's groups are looked up when it is used."""

    person: str
    scopes: tuple[Scope, ...]
    made_at: datetime
    expires_at: datetime

    def require(self, scope: str) -> None:
        """Raises `Forbidden` unless the token has `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"the token lacks the scope `{scope}`", scope=scope)


class SignInLink(msgspec.Struct, frozen=True, omit_defaults=True):
    """A link that signs one person in. `many`: it is not used up, for a demo on the loopback only."""

    person: str
    expires_at: datetime
    many: bool = False


_encode = msgspec.json.Encoder().encode
_decode_token = msgspec.json.Decoder(PersonToken).decode
_decode_link = msgspec.json.Decoder(SignInLink).decode


class PersonTokens:
    """Makes, lists, revokes and recognises people's tokens."""

    def __init__(self, credentials: Credentials, *, clock: Callable[[], datetime]) -> None:
        self._credentials = credentials
        self._clock = clock

    async def add(self, person: str, *, scopes: tuple[Scope, ...], lasts: timedelta) -> str:
        """Make a token and return its secret: the only time that it can be read."""
        secret, now = new_secret(Kind.PERSON), self._clock()
        token = PersonToken(person, scopes, now, now + lasts)
        await self._credentials.put(Kind.PERSON, hash_of(secret), _encode(token), holder=person, ttl=lasts)
        return secret

    async def all(self, person: str = "") -> list[tuple[str, PersonToken]]:
        """Return (id, token) of one person or of all. The id is the head of the hash."""
        kept = await self._credentials.list(Kind.PERSON, person)
        found = ((one.hash[:8], _decode_token(one.record)) for one in kept)
        return sorted(found, key=lambda pair: (pair[1].person, pair[1].made_at))

    async def revoke(self, person: str, token_id: str = "") -> int:
        """Delete every token of a person, or the one whose id is given. Returns how many."""
        kept = await self._credentials.list(Kind.PERSON, person)
        doomed = [one.hash for one in kept if token_id in ("", one.hash[:8])]
        return sum([await self._credentials.delete(Kind.PERSON, hash) for hash in doomed])

    async def authenticate(self, authorization: str | None) -> PersonToken:
        """Return what an Authorization header stands for. Raises `Unauthenticated`, `StoreUnavailable`."""
        record = await self._credentials.get(Kind.PERSON, hash_of(bearer(authorization, Kind.PERSON)))
        if record is None:
            raise Unauthenticated("the token is not known")
        token = _decode_token(record)
        if token.expires_at <= self._clock():
            raise Unauthenticated("the token has expired")
        return token


class SignInLinks:
    """Makes links that sign a person in once, and takes them back in."""

    def __init__(self, credentials: Credentials, *, clock: Callable[[], datetime]) -> None:
        self._credentials = credentials
        self._clock = clock

    async def add(self, person: str, *, lasts: timedelta = LINK_LASTS, many: bool = False) -> str:
        """Make a link and return its secret."""
        secret = new_secret(Kind.LINK)
        link = SignInLink(person, self._clock() + lasts, many)
        await self._credentials.put(Kind.LINK, hash_of(secret), _encode(link), holder=person, ttl=lasts)
        return secret

    async def look(self, secret: str) -> SignInLink:
        """Return what a link stands for without using it up: previews and scanners only get here. Raises `Unauthenticated`."""
        return self._good(await self._credentials.get(Kind.LINK, self._hash(secret)))

    async def use(self, secret: str, *, loopback: bool) -> SignInLink:
        """Use a link up and return it. `loopback`: the visitor is on this machine. Raises `Unauthenticated`."""
        link = await self.look(secret)
        if not link.many:
            return self._good(await self._credentials.take(Kind.LINK, self._hash(secret)))
        if not loopback:
            raise Unauthenticated("this link only works on the machine where the broker runs")
        return link

    def _hash(self, secret: str) -> str:
        if kind_of(secret) is not Kind.LINK:
            raise Unauthenticated("the link is not known: it was used, or its time is over")
        return hash_of(secret)

    def _good(self, record: bytes | None) -> SignInLink:
        if record is None or (link := _decode_link(record)).expires_at <= self._clock():
            raise Unauthenticated("the link is not known: it was used, or its time is over")
        return link
