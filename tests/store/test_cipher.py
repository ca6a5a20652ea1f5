from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.approvals.ports import Query
from broker.domain.calls import Caller, ToolCall, join_of
from broker.domain.decisions import ApprovalPlan, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, Change, RequestState, opened
from broker.errors import ConfigInvalid, RecordUnreadable
from broker.store import keys
from broker.store.cipher import Cipher
from broker.store.connection import Commands
from broker.store.open import Store, open_store
from broker.store.sealing import SigningKeys

OLD, NEW = b"o" * 32, b"n" * 32
CANARY = "canary-7f3a"


def test_what_is_sealed_shows_nothing_and_opens_again() -> None:
    cipher = Cipher((NEW,))
    sealed = cipher.seal(b'{"secret":1}', "here")
    assert (b"secret" in sealed, cipher.open(sealed, "here")) == (False, b'{"secret":1}')
    assert sealed != cipher.seal(b'{"secret":1}', "here")


def test_a_rotated_key_still_reads_and_no_longer_writes() -> None:
    before = Cipher((OLD,)).seal(b"{}", "here")
    rotated = Cipher((NEW, OLD))
    assert rotated.open(before, "here") == b"{}"
    with pytest.raises(RecordUnreadable):
        Cipher((OLD,)).open(rotated.seal(b"{}", "here"), "here")


@pytest.mark.parametrize(
    "change", [lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]), lambda sealed: sealed[:9], lambda _: b"", lambda _: b"\x01"]
)
def test_a_changed_value_does_not_open(change: Any) -> None:
    with pytest.raises(RecordUnreadable):
        Cipher((NEW,)).open(change(Cipher((NEW,)).seal(b"{}", "here")), "here")


def test_a_value_opens_only_where_it_was_put() -> None:
    with pytest.raises(RecordUnreadable):
        Cipher((NEW,)).open(Cipher((NEW,)).seal(b"{}", "here"), "there")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        Cipher((b"short",))


@pytest.fixture
async def sealed_store(store: Store, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(store.url, data=tmp_path / "sealed", broker_id="broker-2", encryption=(NEW,)) as opened_store:
        yield opened_store


async def test_arguments_and_answers_lie_encrypted_in_the_store(sealed_store: Store, store: Store) -> None:
    call = ToolCall("payments", "refund", {"name": "refund", "arguments": {"note": CANARY}}, Caller(agent="bot"))
    plan = ApprovalPlan("Refund", (RuleApproval("refunds", (Requirement("finance"),)),), timedelta(minutes=5))

    def draft(now: datetime) -> Change:
        return opened(
            ApprovalRequest(
                id=keys.new_id(), version=1, state=RequestState.PENDING, call=call, digest=call.digest(), plan=plan,
                policy="p", definition="d", rules=("refunds",), reasons=(), opened_at=now, expires_at=now + plan.timeout,
            )
        )  # fmt: skip

    request, _ = await sealed_store.requests.open(join_of(call, call.digest()), draft)
    ended = datetime.now(UTC)
    answer = b'{"result":"' + CANARY.encode() + b'"}'
    await sealed_store.requests.update(request.id, lambda held, now: Change(held.forbidden(ended, "no").after, None, answer))
    assert await sealed_store.requests.answer(request.id) == answer
    commands = store.audit._commands  # every value of the store, past every room
    for key in await commands.run("KEYS", "*"):
        kind = await commands.run("TYPE", key)
        read = {b"string": "GET", b"hash": "HGETALL"}.get(kind)
        raw = await commands.run(read, key) if read else await _rows(commands, kind, key)
        assert CANARY.encode() not in repr(raw).encode(), key
    with pytest.raises(RecordUnreadable):
        await store.requests.get(request.id)
    assert (await store.requests.find(Query())).requests == ()
    assert await store.requests.forget(ended + timedelta(seconds=1), 10) == 1  # who has no key can still let it go
    assert [key for key in await commands.run("KEYS", "*") if request.id.encode() in key] == []


async def test_a_recording_that_does_not_open_hides_no_other_and_goes_with_retention(sealed_store: Store, store: Store) -> None:
    store.recordings.put(b"not sealed")
    await store.recordings.flush()
    sealed_store.recordings.put(b'{"sealed": true}')
    await sealed_store.recordings.flush()
    assert await sealed_store.recordings.read() == [b'{"sealed": true}']
    await sealed_store.recordings.forget(store.clock() - timedelta(minutes=1))
    assert len(await sealed_store.recordings.read()) == 1
    await sealed_store.recordings.forget(store.clock() + timedelta(minutes=1))
    assert await sealed_store.recordings.read() == []


async def test_a_credential_that_somebody_wrote_into_the_store_opens_nothing(sealed_store: Store, store: Store) -> None:
    hour = timedelta(hours=1)
    await store.credentials.put("person", "forged", b'{"person": "fay@example.com"}', holder="fay@example.com", ttl=hour)
    await sealed_store.credentials.put("person", "made", b'{"person": "max@example.com"}', holder="max@example.com", ttl=hour)
    moved = await store.credentials.get("person", "made")
    assert moved is not None
    assert b"max@" not in moved
    await store.credentials.put("person", "moved", moved, holder="max@example.com", ttl=hour)
    found = [await sealed_store.credentials.get("person", name) for name in ("made", "forged", "moved")]
    assert found == [b'{"person": "max@example.com"}', None, None]
    assert [one.hash for one in await sealed_store.credentials.list("person")] == ["made"]
    assert await sealed_store.credentials.take("person", "forged") is None
    assert await sealed_store.credentials.take("person", "made") == b'{"person": "max@example.com"}'


async def test_keys_that_seal_what_is_handed_out_are_sealed_and_outlive_a_rotation(
    store: Store, raw: Commands, tmp_path: Path
) -> None:
    place, made = keys.signing("sessions"), []
    for at, data_keys in enumerate([(OLD,), (NEW, OLD), (NEW,)]):
        async with open_store(store.url, data=tmp_path / str(at), broker_id="b", encryption=data_keys) as opened:
            made.append(await opened.keys.signing_key("sessions"))
        assert made[-1] not in await raw.run("GET", place)
    assert len({*made}) == 1


async def test_a_key_that_somebody_wrote_into_the_store_seals_nothing(store: Store, raw: Commands, tmp_path: Path) -> None:
    await raw.run("SET", keys.signing("sessions"), b"k" * 32)
    made = []
    for at in range(2):
        async with open_store(store.url, data=tmp_path / str(at), broker_id="b", encryption=(NEW,)) as opened:
            made.append(await opened.keys.signing_key("sessions"))
    assert made[0] == made[1] != b"k" * 32


@pytest.mark.parametrize("own", [(), (NEW,)], ids=["no key", "another key"])
async def test_a_broker_without_the_data_key_of_the_others_does_not_start_and_takes_nothing_from_them(
    store: Store, raw: Commands, tmp_path: Path, own: tuple[bytes, ...]
) -> None:
    async with open_store(store.url, data=tmp_path / "first", broker_id="first", encryption=(OLD,)) as opened:
        key = await opened.keys.signing_key("sessions")
    before = await raw.run("GET", keys.signing("sessions"))
    with pytest.raises(ConfigInvalid, match="another data key: set BROKER_ENCRYPTION_KEY_FILE"):
        async with open_store(store.url, data=tmp_path / "second", broker_id="second", encryption=own):
            pass
    with pytest.raises(ConfigInvalid, match="another data key"):  # two that start on an empty store
        await SigningKeys(raw, Cipher(own)).signing_key("sessions")
    assert await raw.run("GET", keys.signing("sessions")) == before
    async with open_store(store.url, data=tmp_path / "first", broker_id="first", encryption=(NEW, OLD)) as opened:
        assert await opened.keys.signing_key("sessions") == key


async def _rows(commands: Any, kind: bytes, key: bytes) -> Any:
    return await commands.run(*(("ZRANGE", key, 0, -1) if kind == b"zset" else ("XRANGE", key, "-", "+")))
