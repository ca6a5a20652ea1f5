"""What the gateway needs from outside, as Protocols: who calls, what may pass, where it is parked, and the way out.

The guard, the desk and the releaser of `approvals/` fit the middle three as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from broker.approvals.desk import Parked
from broker.approvals.guard import Admitted
from broker.domain.calls import Caller, ToolCall
from broker.domain.events import Noted
from broker.domain.outcomes import Code, Outcome, Refused
from broker.domain.peers import Peer
from broker.domain.requests import ApprovalRequest, Origin, RequestId
from broker.domain.reviews import Confirmation
from broker.domain.servers import Server

Sized = Callable[[str, int], None]
"""Hears how many bytes a page of a server's list of tools has, as a caller is shown it."""


def nobody_measures(server: str, size: int) -> None:
    """Nobody wants to know how large lists are."""


Failed = Callable[[str], None]
"""Hears the code of a mistake that a caller is answered with."""


def nobody_counts(code: str) -> None:
    """Nobody wants to know how many mistakes there are."""


Note = Callable[[Noted], Awaitable[object]]
"""Writes an audit event. Raises `StoreUnavailable`."""


async def nothing_noted(event: Noted) -> None:
    """Nobody keeps an audit."""


class Authenticate(Protocol):
    async def __call__(self, authorization: str | None, peer: Peer) -> Caller:
        """Return who is behind an `Authorization` header, or who a trusted proxy says it is.

        Raises `Unauthenticated`, `StoreUnavailable`.
        """
        ...


class Judge(Protocol):
    async def admit(
        self, call: ToolCall, origin: Origin, *, continues: ApprovalRequest | None = None
    ) -> Admitted | Refused | Parked:
        """`continues`: `call` answers what that request's server asked back. Raises `WrongMove` if that was done otherwise."""
        ...

    def shows(self, server: str, tool: str, caller: Caller) -> bool: ...

    def asks(self, server: str, tool: str, caller: Caller, raw: Mapping[str, Any]) -> str:
        """Are people asked about calls of a tool that is shown: `always`, `sometimes` or `never`?"""
        ...


class Attending(Protocol):
    async def outcome(self, within: float) -> Outcome:
        """Wait up to `within` seconds for the end; StillPending when it has not come."""
        ...


class Waiting(Protocol):
    """The desk's side for agents."""

    def attend(self, request: ApprovalRequest) -> AbstractContextManager[Attending]: ...

    async def fetched(self, request_id: RequestId, caller: Caller) -> ApprovalRequest: ...

    async def delivered(self, request_id: RequestId) -> None: ...

    async def confirm(self, request_id: RequestId, given: Confirmation) -> ApprovalRequest:
        """Count the answer of the caller's own user. Raises `AlreadyResolved`, `NotAnApprover`, `WrongMove`."""
        ...

    async def answer(self, request_id: RequestId, answers: dict[str, Any]) -> ApprovalRequest:
        """Keep answers to some of what the server asked back. Raises `AlreadyResolved`."""
        ...

    async def give_up(self, request_id: RequestId, code: Code, why: str) -> ApprovalRequest:
        """What the server asked back is answered by nobody any more. Raises `AlreadyResolved`."""
        ...

    async def withdraw(self, request_id: RequestId, caller: Caller) -> ApprovalRequest:
        """Raises `AlreadyResolved` once it runs or has ended, `UnknownRequest` as `fetched`."""
        ...


class Lines(Protocol):
    """The releaser's side for callers whose stream is open here."""

    def listen(self, request_id: RequestId, hear: Callable[[bytes], None]) -> AbstractContextManager[None]: ...


Challenge = Callable[[str, bool], str]
"""What a 401 for a path says in `WWW-Authenticate`; True where credentials were brought and did not hold."""


def bare_challenge(path: str, brought: bool) -> str:
    return "Bearer"


Catalogue = Callable[[str], Server | None]
"""The guarded server of that name, None where there is none."""

Names = Callable[[], Collection[str]]
"""The names of all guarded servers. Raises `PolicyInvalid`."""

Barred = Callable[[Server, Caller], str]
"""Why this caller may not speak to this server at all, empty when it may. Asked at every request, so it must be quick."""


def admit_all(server: Server, caller: Caller) -> str:
    """Nobody is barred."""
    return ""


Schemas = Callable[[str, str], Awaitable[Mapping[str, Any] | None]]
"""The input schema of a server's tool as last probed, None where it is not known."""


class Event(Protocol):
    """One whole server-sent event. `raw` is all of it as it goes on the wire, its blank line included; `data` may be empty."""

    @property
    def raw(self) -> bytes: ...

    @property
    def id(self) -> str: ...

    @property
    def data(self) -> bytes: ...


class Answer(Protocol):
    """What an upstream answered. `media` is the bare content type in lower case, empty where there is no body.

    `session` is the upstream's own `Mcp-Session-Id`, empty where it sent none. `close` must be called, also twice.
    """

    @property
    def status(self) -> int: ...

    @property
    def media(self) -> str: ...

    @property
    def session(self) -> str: ...

    @property
    def allow(self) -> str:
        """The `Allow` header of a 405."""
        ...

    @property
    def length(self) -> int | None:
        """Bytes of the body, None where the upstream did not say."""
        ...

    async def read(self) -> bytes:
        """Return the whole body. Raises `OutcomeLost` when it breaks off."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `OutcomeLost` when it breaks off."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """Whole events as they come; half a one at the end is left out. Raises `OutcomeLost` when the stream breaks off."""
        ...

    def close(self) -> None: ...


class Forwarder(Protocol):
    async def forward(self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False) -> Answer:
        """Send one message (`POST`), open a stream (`GET`) or end a session (`DELETE`), and return once the head is here.

        `headers` are MCP's own, in lower case, with the upstream's session id; the implementation adds the upstream's
        credentials. `body` is one JSON-RPC message. `patient`: the answer may stay silent for any time.
        Raises `UnknownServer`, `UpstreamUntouched` when nothing was sent, `OutcomeLost` when it is not known.
        """
        ...
