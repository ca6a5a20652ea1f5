"""How one waiting caller is spoken to: its own ids and progress token, and what it may hear of the upstream's messages."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.gateway.envelope import RpcId

# Waiting moves progress by this much each time: far less than any step of an upstream, whose own progress is added later.
STEP = 0.001


class Voice:
    """Speaks to one caller. `first`: it made the call that runs, in that session, so it may be asked by the server too."""

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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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
