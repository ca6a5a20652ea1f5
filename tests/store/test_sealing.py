from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from broker.store.open import Store


async def test_all_brokers_on_a_store_share_a_key_by_its_name(
    store: Store, open_another: Callable[[str], AbstractAsyncContextManager[Store]]
) -> None:
    key = await store.keys.signing_key("sessions")
    async with open_another("broker-2") as second:
        assert await second.keys.signing_key("sessions") == key
        other = await second.keys.signing_key("cookies")
    assert await store.keys.signing_key("sessions") == key
    assert (len(key), len(other), key != other) == (32, 32, True)
