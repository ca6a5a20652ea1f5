from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from broker.approvals.guard import Admitted
from broker.policy.replay import Recorded, Was
from broker.recording import recorder
from broker.store.open import Store
from tests.approvals.conftest import Counter, Policies, policies

__all__ = ["policies"]
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


async def test_a_call_that_passed_is_kept_for_replays_with_its_secrets_covered(store: Store, policies: Policies) -> None:
    counter = Counter(store, policies)
    guard = counter.make_guard(record=recorder(store.recordings.put, b"k" * 32, lambda: NOW))
    counter.guard = guard
    answer = await counter.ask(tool="refund_get")
    assert isinstance(answer, Admitted)
    await store.recordings.flush()
    (line,) = await store.recordings.read()
    kept = msgspec.json.decode(line, type=Recorded)
    assert (kept.at, kept.call.tool, kept.call.arguments, kept.was) == (
        NOW,
        "refund_get",
        {"amount": 40},
        Was("allow", ("reads",)),
    )


async def test_a_secret_in_an_argument_does_not_reach_the_recording(store: Store, policies: Policies) -> None:
    counter = Counter(store, policies)
    counter.guard = counter.make_guard(record=recorder(store.recordings.put, b"k" * 32, lambda: NOW))
    await counter.ask("ghp_" + "a1B2" * 9, tool="refund_get")  # type: ignore[arg-type]  # an agent may send what it likes
    await store.recordings.flush()
    assert "ghp_a1B2" not in str(await store.recordings.read())


async def test_a_recorder_that_fails_does_not_fail_the_call(store: Store, policies: Policies) -> None:
    def full(line: bytes) -> None:
        raise OSError("no room")

    counter = Counter(store, policies)
    counter.guard = counter.make_guard(record=recorder(full, b"k" * 32, lambda: NOW))
    assert isinstance(await counter.ask(tool="refund_get"), Admitted)
