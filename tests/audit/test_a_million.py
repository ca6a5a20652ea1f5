"""What it costs to verify a year: a million events, sealed as a broker seals them, against a live store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.audit.keys import PublicKeys, published, signing_key
from broker.audit.sealer import Sealer
from broker.audit.segments import Segments
from broker.audit.verify import verify_files, verify_store
from broker.domain.calls import Caller
from broker.domain.events import CallDecided, encode_event
from broker.store import keys

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
EVENT = CallDecided(
    at=NOW, broker="broker-1", trace="0af7651916cd43dd8448eb211c80319c",
    caller=Caller(agent="bot", user="alice@example.com", owner="dana@example.com", groups=("support", "finance")),
    server="payments", tool="refund_get", digest="sha256:" + "a" * 64, effect="allow", policy="sha256:" + "b" * 64,
    definition="sha256:" + "c" * 64, rules=("reads",),
)  # fmt: skip


WRITE = "for n = ARGV[1], ARGV[2] do redis.call('XADD', KEYS[1], string.format('%d-0', n), 'e', ARGV[3]) end"


async def verified_in(store: Any, folder: Path, events: int, a_second: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seal so many events, `a_second` with each seal, change the last but one, and return the seconds that finding it took."""
    redis, body = store.audit._commands, encode_event(EVENT)
    for start in range(1, events + 1, 10_000):
        await redis.run("EVAL", WRITE, 1, keys.audit(), start, start + 9_999, body)
    await redis.run("SET", keys.audit_number(), events)
    monkeypatch.setattr("broker.audit.sealer.BATCH", a_second)
    monkeypatch.setattr("os.fsync", lambda file: None)  # what is measured is reading
    key = folder / "key.pem"
    sealer = Sealer(
        store.audit, store.seals, store.leases, Segments(folder / "audit"), signing_key(key), broker="b", clock=lambda: NOW
    )  # fmt: skip
    await sealer._drained()
    await redis.run("XDEL", keys.audit(), f"{events - 1}-0")
    begun = time.perf_counter()
    proved = verify_files(folder / "audit", PublicKeys(published(key)))
    fault = await verify_store(folder / "audit", store.audit, await store.seals.head(), proved)
    took = time.perf_counter() - begun
    assert (proved.last, proved.seals, proved.fault) == (events, events // a_second, None)
    assert fault is not None
    assert fault.number == events - 1
    return took


async def test_ten_thousand_events_are_verified_in_less_than_their_part(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await verified_in(store, tmp_path, 10_000, 100, monkeypatch) < 3


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_million_events_are_verified_in_half_a_minute(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    took = await verified_in(store, tmp_path, 1_000_000, 100, monkeypatch)
    with capsys.disabled():
        print(f"\na million events in 10,000 seals, files and live store: {took:.1f} s")
    assert took < 30
