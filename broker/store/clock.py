"""The store's clock. No time of a broker's machine ever decides: it is TIME's answer, or carried on from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Return microseconds since 1970: the score in every sorted set. Exact, also as Redis' double."""
    return (moment - _EPOCH) // _MICROSECOND


def told(reply: Sequence[bytes]) -> datetime:
    """Return the moment that Redis' TIME told, in UTC."""
    return _EPOCH + timedelta(seconds=int(reply[0]), microseconds=int(reply[1]))


class Clock:
    """Carries the store's time on between two readings, by the monotonic clock."""

    def __init__(self) -> None:
        self._read = datetime.now(UTC)
        self._at = time.monotonic()

    def set(self, now: datetime) -> None:
        self._read, self._at = now, time.monotonic()

    def __call__(self) -> datetime:
        """Return the store's time, read half a second ago at most while the store answers."""
        return self._read + timedelta(seconds=time.monotonic() - self._at)
