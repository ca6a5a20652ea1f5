"""What the registry needs from outside, as Protocols: servers to ask, a place for pins, the requests that a change concerns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from broker.domain.events import Event
from broker.domain.requests import ApprovalRequest, Change, RequestId
from broker.domain.servers import Server, ToolDefinition


class Listing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a server said when it was asked. No two tools have the same name.

    `era` is the protocol revision that it was asked in, `info` its name for itself, `seconds` how long it took.
    """

    server: str
    tools: tuple[ToolDefinition, ...]
    era: str = ""
    info: dict[str, Any] = msgspec.field(default_factory=dict)
    instructions: str = ""
    seconds: float = 0.0

    def tool(self, name: str) -> ToolDefinition | None:
        return next((tool for tool in self.tools if tool.name == name), None)


class Prober(Protocol):
    async def probe(self, server: str) -> Listing:
        """Ask a server now what it offers. Raises an `UpstreamError`."""
        ...


class Servers(Protocol):
    """The catalogue as the policy in force has it."""

    def server(self, name: str) -> Server | None: ...

    def names(self) -> Sequence[str]: ...


class Shelf(Protocol):
    """Named bytes that many brokers write. Each method raises `StoreUnavailable`."""

    async def get(self, name: str) -> bytes | None: ...

    async def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write `after` if the value still is `before` (None: there is none)."""
        ...

    async def delete(self, name: str) -> bool: ...

    async def all(self) -> dict[str, bytes]: ...


class Held(msgspec.Struct, frozen=True):
    """Every record of the registry as it was at one moment; `at` is the stamp of the next write, later than all before it."""

    count: int
    at: datetime
    records: dict[str, bytes]


class Ledger(Protocol):
    """The records of enrolled servers, in the store. Each method raises `StoreUnavailable`."""

    async def count(self) -> int:
        """How many writes there were: another number is another state."""
        ...

    async def read(self) -> Held: ...

    async def write(self, name: str, record: bytes, held: Held, event: Event | None, notice: tuple[str, bytes] | None) -> bool:
        """Write one record on top of what was read, in one step with its audit event. False when somebody was faster."""
        ...


class Pending(Protocol):
    """The requests that a changed tool may end."""

    async def waiting(self, server: str) -> Sequence[ApprovalRequest]:
        """The requests for calls to this server that people are asked about, or that are approved and do not run yet."""
        ...

    async def update(self, request_id: RequestId, change: Callable[[ApprovalRequest, datetime], Change]) -> ApprovalRequest: ...


class Notes(Protocol):
    async def append(self, event: Event) -> None:
        """Durable when it returns."""
        ...


class Once(Protocol):
    """Marks of what may happen once only. Each method raises `StoreUnavailable`."""

    async def first(self, mark: str, lasts: timedelta) -> bool:
        """Set a mark; False where it was there."""
        ...

    async def forget(self, mark: str) -> None: ...
