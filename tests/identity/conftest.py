"""Identity on a real store, with a clock that tests move; an issuer of access tokens, and a door that trusts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from broker.identity.access_tokens import AccessTokens
from broker.identity.issuers import Issuer
from broker.store.credentials import HashedCredentials
from broker.store.open import Store
from tests.fakes.provider import BASE, NOW, Provider


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


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    runner = await made.start()
    yield made
    await runner.cleanup()


@pytest.fixture
def tokens(provider: Provider) -> AccessTokens:
    return AccessTokens([Issuer(provider.url, trust_domain="example.com")], base=BASE, clock=lambda: NOW)
