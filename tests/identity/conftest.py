"""Identity on a real store, with a clock that tests move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from broker.store.credentials import HashedCredentials
from broker.store.open import Store


@dataclass
class Clock:
    now: datetime = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, span: timedelta) -> None:
        self.now += span


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def credentials(store: Store) -> HashedCredentials:
    return store.credentials
