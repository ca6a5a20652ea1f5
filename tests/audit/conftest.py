from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.audit.keys import PublicKeys, SigningKey, signing_key
from broker.audit.sealer import Sealer
from broker.audit.segments import Segments
from broker.audit.verify import Fault, verify_live
from broker.domain.events import Noted

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


class Proof:
    """A store with sealed events, and somebody with full access to it."""

    def __init__(self, store: Any, folder: Path) -> None:
        self.store = store
        self.folder = folder / "audit"
        self.key: SigningKey = signing_key(folder / "keys.pem")
        self.sealer = self.another("broker-1")

    def another(self, broker: str, segments: Segments | None = None) -> Sealer:
        store, segments = self.store, segments or Segments(self.folder)
        return Sealer(store.audit, store.seals, store.leases, segments, self.key, broker=broker, clock=lambda: NOW)

    async def write(self, count: int) -> None:
        for n in range(count):
            await self.store.audit.append(Noted(at=NOW, what="test.fact", who=f"person-{n}"))

    async def redis(self, *command: Any) -> Any:
        return await self.store.audit._commands.run(*command)  # the attacker's way in, past every room

    async def fault(self) -> Fault | None:
        keys = PublicKeys({"keys": [self.key.public()]})
        return (await verify_live(self.folder, keys, self.store.audit, self.store.seals, patience=0)).fault


@pytest.fixture
async def proof(store: Any, tmp_path: Path) -> Proof:
    made = Proof(store, tmp_path)
    await made.write(5)
    await made.sealer.round()
    await made.write(5)
    await made.sealer.round()
    return made
