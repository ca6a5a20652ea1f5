"""What the web needs from outside: who is signed in, what happened, and a place to note what people did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from broker.domain.calls import Caller
from broker.domain.events import Entry, Noted
from broker.domain.requests import RequestId
from broker.insights.feedback import Said
from broker.insights.usage import Lately, Usage
from broker.policy.model import Problem
from broker.registry.pins import Pin
from broker.registry.ports import Listing
from broker.registry.pulses import Live


class SignedIn(Protocol):
    """A visitor with a good session. `how` it began: `link`, `a proxy` or the name of an identity provider."""

    @property
    def how(self) -> str: ...
    @property
    def secret(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def person(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def started_at(self) -> datetime: ...
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


class Authenticate(Protocol):
    async def __call__(self, authorization: str | None) -> Caller:
        """Return the agent behind an `Authorization` header. Raises `Unauthenticated`, `StoreUnavailable`."""
        ...


class PasskeyFacts(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def made_at(self) -> datetime: ...
    @property
    def used_at(self) -> datetime | None: ...


class Begun(Protocol):
    """A ceremony that waits for the browser."""

    @property
    def nonce(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...


Decision = Mapping[str, str]
"""What a passkey signs: `request`, `digest` and `verdict`."""


class Passkeys(Protocol):
    """`origin` is where the browser says that it is; `reply` the ceremony's nonce and the authenticator's answer in JSON."""

    async def of(self, person: str) -> Sequence[PasskeyFacts]: ...

    async def remove(self, person: str, passkey_id: str = "") -> int: ...

    async def begin_adding(self, person: str, session: str, signed_in_at: datetime, origin: str) -> Begun:
        """Raises `Forbidden` unless the sign-in is fresh."""
        ...

    async def finish_adding(self, person: str, session: str, origin: str, reply: tuple[str, str], name: str) -> PasskeyFacts:
        """Raises `Forbidden`."""
        ...

    async def begin_approving(self, person: str, session: str, origin: str, decision: Decision) -> Begun:
        """Raises `StepUpNeeded` where the person has no passkey."""
        ...

    async def finish_approving(
        self, person: str, session: str, origin: str, reply: tuple[str, str], decision: Decision
    ) -> dict[str, Any]:
        """Return the assertion as evidence. Raises `StepUpNeeded`."""
        ...


class Started(Protocol):
    """Where to send the browser, and the secret that binds the answer to it."""

    @property
    def url(self) -> str: ...
    @property
    def binding(self) -> str: ...


class Arrived(Protocol):
    @property
    def person(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def after(self) -> str: ...


class Oidc(Protocol):
    """Identity providers. `providers` are name and label of each."""

    @property
    def providers(self) -> Sequence[tuple[str, str]]: ...

    async def begin(self, name: str, redirect: str, after: str) -> Started:
        """Raises `Unauthenticated` when the provider is not known or can't be reached."""
        ...

    async def finish(self, name: str, answer: Mapping[str, str], binding: str) -> Arrived:
        """Raises `Unauthenticated`."""
        ...


class Presence(Protocol):
    """Who is at a place now. Each method raises `StoreUnavailable`."""

    async def here(self, place: str, member: str, lasts: timedelta) -> Sequence[str]:
        """Say that `member` is at the place for so long, and return all who are."""
        ...


class Finding(Protocol):
    """What a check found. `level` is fine, warning or wrong."""

    @property
    def level(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def told(self) -> str: ...
    @property
    def mend(self) -> str: ...


class Replica(Protocol):
    """One running broker. `policy` is the digest that it has in force, `own` marks the one that answers."""

    @property
    def broker(self) -> str: ...
    @property
    def policy(self) -> str: ...
    @property
    def own(self) -> bool: ...


class Vitals(Protocol):
    """The broker's own state. Each method raises `StoreUnavailable`."""

    def replicas(self) -> Sequence[Replica]: ...

    async def deliveries(self) -> tuple[int, int, int]:
        """Return how many deliveries to channels wait, wait for another try, and were given up."""
        ...

    async def undelivered(self) -> Sequence[tuple[str, int, datetime]]:
        """Return for each channel in trouble its name, how often it could not deliver, and since when."""
        ...


class Offers(Protocol):
    """What guarded servers offer, as last asked."""

    def last(self, server: str) -> tuple[Listing, float] | None:
        """What a server offered when it last answered, and how many seconds ago."""
        ...

    def problem(self, server: str) -> str:
        """Why a server could not be asked the last time, empty when it could."""
        ...

    def live(self, server: str) -> Live | None:
        """How a server answered lately; None where it was never asked."""
        ...


class Accepted(Protocol):
    async def of(self, server: str) -> Mapping[str, Pin]:
        """The tools of a server that somebody accepted, as they were then. Raises `StoreUnavailable`."""
        ...

    async def every(self) -> Sequence[Pin]: ...


class Usages(Protocol):
    """The counts of use. Each method raises `StoreUnavailable`."""

    async def month(self, month: str) -> Usage:
        """Return the use of one month (`2026-11`)."""
        ...

    async def lately(self, server: str, today: date) -> Lately:
        """Return the use of one server in the 30 days up to `today`."""
        ...

    async def said(self, months: Sequence[str]) -> Sequence[Mapping[Said, int]]:
        """Return how often people said what of which tool, in each of some months."""
        ...


class Recordings(Protocol):
    async def read(self, limit: int) -> Sequence[bytes]:
        """The newest recorded calls (JSON Lines of a replay), oldest first. Raises `StoreUnavailable`."""
        ...


Checkup = Callable[[], AsyncIterator[Finding]]
"""Everything that the broker finds right or wrong with itself, now."""

Timeline = Callable[[RequestId], Awaitable[Sequence[Entry]]]
"""Everything that the audit holds about one request, oldest first."""

Note = Callable[[Noted], Awaitable[None]]
"""Makes a fact of the web (a sign-in, say) durable in the audit."""

Clock = Callable[[], datetime]

Problems = Callable[[], Sequence[Problem]]
"""What is wrong with the policy files as they lie on disk; empty while the policy in force is theirs."""
