from __future__ import annotations

from datetime import timedelta

from broker.store.open import Store
from tests.fakes.waiting import until

LONG = timedelta(minutes=1)


async def test_a_lease_has_one_owner_who_may_keep_it(store: Store) -> None:
    assert await store.leases.lease("sealer", "broker-1", LONG) is True
    assert await store.leases.lease("sealer", "broker-2", LONG) is False
    assert await store.leases.lease("sealer", "broker-1", LONG) is True
    assert await store.leases.lease("slack", "broker-2", LONG) is True


async def test_a_lease_that_is_given_up_is_free(store: Store) -> None:
    await store.leases.lease("sealer", "broker-1", LONG)
    await store.leases.give_up("sealer", "broker-2")
    assert await store.leases.lease("sealer", "broker-2", LONG) is False
    await store.leases.give_up("sealer", "broker-1")
    assert await store.leases.lease("sealer", "broker-2", LONG) is True


async def test_a_lease_that_is_not_kept_runs_out(store: Store) -> None:
    await store.leases.lease("sealer", "broker-1", timedelta(milliseconds=5))
    await until(lambda: store.leases.lease("sealer", "broker-2", LONG))
