"""A whole broker that enrols servers of this machine, and people who type commands to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from broker.cli.main import main
from broker.identity.people import Scope
from broker.running import Running, running
from broker.settings import Settings
from tests.conftest import empty

SLOTS = ("security", "legal_privacy", "genai")


@asynccontextmanager
async def enrolling(
    store_url: str, home: Path, policy: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """Run a broker over an empty store with these policy files; commands of this process find both."""
    await empty(store_url)
    folder = home / "policies"
    folder.mkdir()
    for name, text in policy.items():
        (folder / name).write_text(text)
    settings = {"redis_url": store_url, "policies": folder, "data": home / "data", "enrol_networks": '["127.0.0.0/8"]'}
    for name, value in settings.items():
        monkeypatch.setenv(f"BROKER_{name.upper()}", str(value))
    async with running(Settings(port=0, review_groups={slot: (slot,) for slot in SLOTS})) as made:
        monkeypatch.setenv("BROKER_URL", made.url)
        yield made


async def typed_by(person: str, broker: Running, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Type a command with a person's own token. Returns its status."""
    await signed_in(person, broker, monkeypatch)
    return await anyio.to_thread.run_sync(main, words)


async def signed_in(person: str, broker: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process a person's own token."""
    scopes = (Scope.READ, Scope.REVIEW, Scope.SERVERS)
    token = await broker.broker.identity.people.add(f"{person}@example.com", scopes=scopes, lasts=timedelta(hours=1))
    monkeypatch.setenv("BROKER_TOKEN", token)
