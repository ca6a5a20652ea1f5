"""How a server answered, each time that it was asked: the last ones, for its page and the API. In memory, of one broker."""

from __future__ import annotations

from collections import deque
from datetime import datetime

import msgspec

KEPT = 60


class Pulse(msgspec.Struct, frozen=True):
    """One answer, or none. `error` is empty where the server answered; `seconds` is how long it took."""

    at: datetime
    seconds: float = 0.0
    error: str = ""

    @property
    def up(self) -> bool:
        return not self.error


class Live(msgspec.Struct, frozen=True):
    """How a server is: by the newest pulse. `last_up` is when it last answered; `history` is oldest first."""

    history: tuple[Pulse, ...]

    @property
    def state(self) -> str:
        return "up" if self.history[-1].up else "down"

    @property
    def checked_at(self) -> datetime:
        return self.history[-1].at

    @property
    def latency_ms(self) -> int | None:
        return round(self.history[-1].seconds * 1000) if self.history[-1].up else None

    @property
    def error(self) -> str:
        return self.history[-1].error

    @property
    def last_up(self) -> datetime | None:
        return next((pulse.at for pulse in reversed(self.history) if pulse.up), None)


class Pulses:
    """The last pulses of each server."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[Pulse]] = {}

    def beat(self, server: str, pulse: Pulse) -> None:
        self._kept.setdefault(server, deque(maxlen=KEPT)).append(pulse)

    def live(self, server: str) -> Live | None:
        """None where it was never asked."""
        kept = self._kept.get(server)
        return Live(tuple(kept)) if kept else None
