"""What the web needs from outside: who is signed in, what happened, and a place to note what people did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from broker.domain.events import Entry, Noted
from broker.domain.requests import RequestId
from broker.policy.model import Problem


class SignedIn(Protocol):
    """A visitor with a good session."""

    @property
    def secret(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def person(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def csrf(self) -> str: ...
    def posted(self, token: str) -> bool: ...


class SessionFacts(Protocol):
    """What a person sees of one of their sessions."""

    @property
    def how(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def seen_at(self) -> datetime: ...
    @property
    def software(self) -> str: ...
    @property
    def address(self) -> str: ...


class Sessions(Protocol):
    async def start(
        self, person: str, *, how: str, groups: tuple[str, ...] = (), software: str = "", address: str = "", instead: str = ""
    ) -> SignedIn:
        """Begin a session under a fresh id; the one whose cookie came along (`instead`) ends."""
        ...

    async def find(self, secret: str) -> SignedIn | None: ...

    async def end(self, secret: str) -> None: ...

    async def all(self, person: str) -> Sequence[tuple[str, SessionFacts]]: ...

    async def end_all(self, person: str, session_id: str = "") -> int: ...


class Link(Protocol):
    @property
    def person(self) -> str: ...


class Links(Protocol):
    async def look(self, secret: str) -> Link:
        """Return whom a sign-in link is for, without using it up. Raises `Unauthenticated`."""
        ...

    async def use(self, secret: str, *, loopback: bool) -> Link:
        """Use a link up. Raises `Unauthenticated`."""
        ...


class Token(Protocol):
    @property
    def person(self) -> str: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    def require(self, scope: str) -> None:
        """Raises `Forbidden`."""
        ...


class Tokens(Protocol):
    async def authenticate(self, authorization: str | None) -> Token:
        """Raises `Unauthenticated`."""
        ...


Timeline = Callable[[RequestId], Awaitable[Sequence[Entry]]]
"""Everything that the audit holds about one request, oldest first."""

Note = Callable[[Noted], Awaitable[None]]
"""Makes a fact of the web (a sign-in, say) durable in the audit."""

Clock = Callable[[], datetime]

Problems = Callable[[], Sequence[Problem]]
"""What is wrong with the policy files as they lie on disk; empty while the policy in force is theirs."""
