from __future__ import annotations

from datetime import timedelta

import pytest

from broker.approvals.ports import Query
from broker.errors import RecordUnreadable, UnknownRequest
from broker.store import keys
from broker.store.connection import Commands
from broker.store.open import Store
from tests.fakes.samples import claim, lose, review
from tests.store.test_requests import ended, every, parked


async def test_retention_deletes_ended_requests_and_every_trace_of_them(store: Store, raw: Commands) -> None:
    gone, stays = await ended(store, "gone"), await parked(store, "stays")
    unknown = await parked(store, "unknown")
    for move in (review("fay"), claim(), lose()):
        await store.requests.update(unknown.id, move)
    assert await store.requests.forget(gone.opened_at, 10) == 0
    assert await store.requests.forget(store.clock() + timedelta(minutes=1), 10) == 1
    with pytest.raises(UnknownRequest):
        await store.requests.get(gone.id)
    assert await every(store, Query(), 10) == [unknown.id, stays.id]
    assert [key for key in await raw.run("KEYS", "*") if gone.id.encode() in key or b"gone" in key] == []
    assert await store.requests.forget(store.clock() + timedelta(minutes=1), 10) == 0


@pytest.mark.parametrize("body", [b'{"id": 7}', b'{"id": "\xff"}', b'{"more":' + b"[" * 5_000], ids=["wrong", "no text", "deep"])
async def test_a_record_that_somebody_spoilt_hides_no_other_and_goes_with_retention(
    store: Store, raw: Commands, body: bytes
) -> None:  # fmt: skip
    spoilt, whole = await ended(store, "spoilt"), await ended(store, "whole")
    await raw.run("HSET", keys.record(spoilt.id), "b", body)
    with pytest.raises(RecordUnreadable):
        await store.requests.get(spoilt.id)
    assert await every(store, Query(), 10) == [whole.id]
    assert await store.requests.forget(store.clock() + timedelta(minutes=1), 10) == 2
    assert await every(store, Query(), 10) == []
