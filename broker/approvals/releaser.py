"""The releaser: claims approved requests and runs each once, outside any request handler."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from broker.domain.requests import RequestId


class Line(Protocol):
    """What one attached caller reads while its call is released on this broker."""

    async def next(self, within: float) -> bytes | None:
        """Return the next JSON-RPC message that the upstream sent before its answer, None after `within` seconds."""
        ...


class Releaser:
    """Runs approved calls. A broker with an attached caller claims at once, the others a moment later."""

    def attach(self, request_id: RequestId) -> AbstractContextManager[Line]:
        """Say that a caller holds its stream here, and receive what the upstream sends before the answer."""
        raise NotImplementedError
