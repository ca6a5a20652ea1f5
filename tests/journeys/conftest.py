"""The install that most journeys start from: one ledger behind the broker, `transfer` asks, `balance` is free."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.ledger_server import Ledger, ledger
from tests.journeys.brokers import REVIEWERS, Place, place
from tests.journeys.stores import Store, store


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: a store's socket lies below it."""
    folder = Path(tempfile.mkdtemp(prefix="j"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def book(home: Path) -> Iterator[Ledger]:
    with ledger(home / "ledger") as book:
        yield book


@pytest.fixture
def here(home: Path, book: Ledger) -> Iterator[Place]:
    """With an embedded store, and a lease that is short enough to wait for."""
    with place(home, lease="PT2S", hold="PT20S") as here:
        here.guard_ledger(book.url)
        yield here


@pytest.fixture
def shared_store(home: Path) -> Iterator[Store]:
    (home / "store").mkdir()
    with store(home / "store") as one:
        yield one


@pytest.fixture
def shared(home: Path, book: Ledger, shared_store: Store) -> Iterator[Place]:
    """With a store of its own, which a test may stop."""
    with place(home, lease="PT2S", hold="PT20S", redis_url=shared_store.url) as here:
        here.guard_ledger(book.url)
        yield here


@pytest.fixture
def token(here: Place) -> str:
    return here.agent(servers=("ledger",))


@pytest.fixture
def reviewer(here: Place) -> str:
    return here.person(REVIEWERS[0])
