"""How one waiting caller is held and spoken to: its pace, its ids and progress token, and what it may hear of the upstream."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from broker.domain.outcomes import Released, StillPending
from broker.domain.requests import ApprovalRequest
from broker.errors import UNREADABLE
from broker.gateway.envelope import RpcId
from broker.gateway.results import Reply

# Waiting moves progress by this much each time: far less than any step of an upstream, whose own progress is added later.
STEP = 0.001


class Pace(msgspec.Struct, frozen=True):
    """Seconds: after how long a held answer becomes a stream, and between its signs of life."""

    commit_after: float = 1.5
    beat: float = 5.0


USUAL_PACE = Pace()


Pending = Callable[[ApprovalRequest, StillPending, datetime], Reply]
AsksBack = Callable[[ApprovalRequest, Released], Reply | None]
"""Makes what a caller reads of a released call whose server asked something back; None for any other result."""


class Manner(msgspec.Struct, frozen=True):
    """How a caller is held: for `within` seconds.

    `event_id` is ours, so that an older client can come back; empty where it can't.
    `primes`: the client takes an empty first event that only carries the id (2025-11-25 and later).
    `question` goes out first: to the caller's own user.
    `pending` makes what is answered when the end has not come; None says PENDING to the model.
    `asks_back` hands on what the server asked; None where it may not, or the caller can't be asked.
    """

    within: float
    pace: Pace
    modern: bool = False
    streams: bool = True
    event_id: str = ""
    primes: bool = False
    question: bytes = b""
    pending: Pending | None = None
    asks_back: AsksBack | None = None


class Voice:
    """Speaks to one caller. `first`: it made the call that runs, in that session, so it may be asked by the server too."""

    __slots__ = ("_first", "_offset", "_token", "_told", "rpc_id")

    def __init__(self, rpc_id: RpcId | None, token: RpcId | None, *, first: bool) -> None:
        self.rpc_id = rpc_id
        self._token = token
        self._first = first
        self._told = 0.0
        self._offset: float | None = None

    def waiting(self, text: str) -> dict[str, Any] | None:
        """Return a progress notification that says `text`, None where the caller asked for no progress."""
        return self._progress(self._told + STEP, None, text) if self._token is not None else None

    def relayed(self, message: bytes) -> dict[str, Any] | None:
        """Return what the caller hears of a message that the upstream sent during the release; None: it is not for it."""
        try:
            told = msgspec.json.decode(message)
        except UNREADABLE:
            return None
        if not isinstance(told, dict) or not isinstance(told.get("method"), str):
            return None
        if told["method"] == "notifications/progress":
            return self._relayed_progress(told.get("params"))
        return told if "id" not in told or self._first else None

    def _relayed_progress(self, params: Any) -> dict[str, Any] | None:
        if self._token is None or not isinstance(params, dict) or not isinstance(params.get("progress"), int | float):
            return None
        if self._offset is None:
            self._offset = self._told
        total = params.get("total")
        if isinstance(total, int | float) and self._offset:
            total += self._offset
        return self._progress(params["progress"] + self._offset, total, params.get("message"))

    def _progress(self, progress: float, total: Any, text: Any) -> dict[str, Any]:
        """`progress` must grow with each notification (patterns/progress), also where an upstream's does not."""
        progress = progress if progress > self._told else self._told + STEP
        self._told = progress
        params = {"progressToken": self._token, "progress": progress, "total": total, "message": text}
        told = {name: value for name, value in params.items() if value is not None}
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": told}
