from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from broker.audit.chain import Batch
from broker.audit.keys import PublicKeys, signing_key
from broker.audit.sealer import Sealer
from broker.audit.segments import Segments
from broker.audit.verify import sealed_entries, verify_files, verify_live
from broker.domain.events import Noted
from broker.errors import ConfigInvalid
from broker.store import keys
from tests.audit.conftest import NOW, Proof


async def test_what_nobody_touched_holds(proof: Proof) -> None:
    assert await proof.fault() is None
    verified = verify_files(proof.folder, PublicKeys({"keys": [proof.key.public()]}))
    assert (verified.last, verified.seals) == (10, 2)


async def test_what_is_sealed_while_somebody_verifies_is_no_lost_tail(proof: Proof) -> None:
    class Meanwhile:
        async def head(self) -> bytes | None:
            await proof.write(2)
            await proof.sealer.round()
            head: bytes | None = await proof.store.seals.head()
            await proof.write(2)
            await proof.sealer.round()
            return head

        async def advance(self, before: bytes | None, after: bytes) -> bool:
            raise AssertionError("who verifies seals nothing")

    keys = PublicKeys({"keys": [proof.key.public()]})
    verified = await verify_live(proof.folder, keys, proof.store.audit, Meanwhile())
    assert (verified.last, verified.fault) == (14, None)


async def rewrite(proof: Proof, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """Replace the store's stream by a changed copy, as somebody with full access can."""
    rows = await proof.redis("XRANGE", keys.audit(), "-", "+")
    entries = change([(name.decode(), fields[1]) for name, fields in rows])
    await proof.redis("DEL", keys.audit())
    for name, event in entries:
        await proof.redis("XADD", keys.audit(), name, "e", event)


ATTACKS: dict[str, tuple[Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]], int]] = {
    "change": (lambda rows: [(name, event.replace(b"person-2", b"person-9")) for name, event in rows], 3),
    "delete": (lambda rows: rows[:6] + rows[7:], 7),
    "swap": (lambda rows: [*rows[:2], (rows[2][0], rows[3][1]), (rows[3][0], rows[2][1]), *rows[4:]], 3),
    "insert": (lambda rows: [*rows[:5], ("5-1", rows[0][1]), *rows[5:]], 6),
    "truncate the tail": (lambda rows: rows[:8], 9),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_an_attack_on_the_store_is_found_at_its_first_event(proof: Proof, attack: str) -> None:
    change, first = ATTACKS[attack]
    await rewrite(proof, change)
    fault = await proof.fault()
    assert fault is not None
    assert (fault.number, fault.where) == (first, "store")


async def test_what_is_inserted_where_verify_turns_a_page_is_found(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.audit.verify.PAGE", 5)
    assert await proof.fault() is None
    await rewrite(proof, ATTACKS["insert"][0])
    fault = await proof.fault()
    assert (fault and fault.number, fault and fault.where) == (6, "store")


async def test_an_older_dump_of_the_store_is_found(proof: Proof) -> None:
    await rewrite(proof, lambda rows: rows[:5])
    await proof.redis("SET", keys.audit_number(), 5)
    fault = await proof.fault()
    assert fault is not None
    assert fault.number == 6


async def put_back(proof: Proof, dump: dict[bytes, bytes]) -> None:
    """Restore a whole dump of the store, as somebody with full access can: the last seal is older too."""
    await proof.redis("FLUSHALL")
    for name, value in dump.items():
        await proof.redis("RESTORE", name, 0, value)


async def test_a_store_that_was_put_back_is_found_also_after_it_went_on(proof: Proof) -> None:
    dump = {name: await proof.redis("DUMP", name) for name in await proof.redis("KEYS", "*")}
    await proof.write(5)
    await proof.sealer.round()
    await put_back(proof, dump)
    fault = await proof.fault()
    assert fault is not None
    assert (fault.number, fault.where) == (11, "store")
    for _ in range(3):
        await proof.store.audit.append(Noted(at=NOW, what="test.fact", who="somebody else"))
        await proof.store.audit.append(Noted(at=NOW, what="test.fact", who="person-1"))
        await proof.sealer.round()
    fault = await proof.fault()
    assert fault is not None
    assert (fault.number, "put back" in fault.what) == (11, True)


def edited(proof: Proof, change: Callable[[list[bytes]], list[bytes]]) -> None:
    (file,) = proof.folder.glob("*.jsonl")
    file.write_bytes(b"\n".join(change(file.read_bytes().splitlines())) + b"\n")


def resealed(line: bytes) -> bytes:
    """What an attacker writes who knows the format and has no key."""
    batch = msgspec.json.decode(line, type=Batch)
    entries = tuple(msgspec.Raw(bytes(entry).replace(b"person-0", b"person-9")) for entry in batch.entries)
    return msgspec.json.encode(msgspec.structs.replace(batch, entries=entries))


FILE_ATTACKS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]] = {
    "change": (lambda lines: [resealed(lines[0]), lines[1]], 1),
    "drop a line": (lambda lines: lines[1:], 1),
    "lost tail": (lambda lines: lines[:1], 6),
    "swap lines": (lambda lines: lines[::-1], 6),
    "half a line": (lambda lines: [lines[0], lines[1][:50]], 6),
    "another head": (lambda lines: [lines[0], lines[1].replace(b'"last":10', b'"last":11')], 6),
    "a number without end": (lambda lines: [lines[0], lines[1].replace(b'"last":10', b'"last":9007199254740993')], 6),
    "a damaged byte": (lambda lines: [lines[0], lines[1].replace(b'"key":"', b'"key":"\xff')], 6),
    "a number below all": (lambda lines: [lines[0], lines[1].replace(b'"first":6', b'"first":-6')], 6),
}


@pytest.mark.parametrize("attack", FILE_ATTACKS, ids=str)
async def test_an_attack_on_the_files_is_found_at_its_first_event(proof: Proof, attack: str) -> None:
    change, first = FILE_ATTACKS[attack]
    edited(proof, change)
    fault = await proof.fault()
    assert fault is not None
    assert fault.number == first


async def test_a_strangers_key_seals_nothing(proof: Proof, tmp_path: Path) -> None:
    stranger = signing_key(tmp_path / "stranger.pem")
    verified = verify_files(proof.folder, PublicKeys({"keys": [stranger.public()]}))
    assert verified.fault is not None
    assert verified.fault.what == "the seal's signature does not hold"


async def test_no_segments_are_no_proof(proof: Proof) -> None:
    shutil.rmtree(proof.folder)
    with pytest.raises(ConfigInvalid):
        await proof.fault()


async def test_another_broker_takes_over_where_the_first_stopped(proof: Proof) -> None:
    second = proof.another("broker-2")
    await proof.write(3)
    assert await second.round() == 0  # the first still holds the lease
    await proof.store.leases.give_up("sealer", "broker-1")
    assert await second.round() == 3
    assert await proof.fault() is None


async def test_files_of_sealers_that_took_turns_are_one_chain(proof: Proof) -> None:
    second = proof.another("broker-2", Segments(proof.folder))
    for one, other in ((second, "broker-1"), (proof.sealer, "broker-2"), (second, "broker-1")):
        await proof.store.leases.give_up("sealer", other)
        await proof.write(2)
        assert await one.round() == 2
    assert len(list(proof.folder.glob("*.jsonl"))) == 2
    assert await proof.fault() is None
    assert [number for number, _ in sealed_entries(proof.folder)] == [*range(1, 17)]
    assert [number for number, _ in sealed_entries(proof.folder, 13)] == [14, 15, 16]


async def test_a_crash_between_file_and_head_seals_the_same_events_once_more(proof: Proof) -> None:
    head = await proof.store.seals.head()
    await proof.write(2)
    await proof.sealer.round()
    await proof.store.seals.advance(await proof.store.seals.head(), head)
    await proof.write(1)
    assert await proof.sealer.round() == 3
    assert await proof.fault() is None


async def test_a_line_that_a_crash_tore_is_no_fault_once_its_events_are_sealed_again(proof: Proof) -> None:
    (file,) = proof.folder.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:50])
    fault = await proof.fault()
    assert (fault and fault.number, fault and fault.where) == (6, "files")
    (proof.folder / "audit-0-000000000006-1.jsonl").write_bytes(lines[1])
    assert await proof.fault() is None


async def test_a_line_that_a_crash_tore_spoils_no_other_of_a_process_with_the_same_id(proof: Proof) -> None:
    """In a container each process has the same, and it begins where the crash left off."""
    (file,) = proof.folder.glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:50])
    await proof.redis("HDEL", keys.shelf("seals"), "head")
    assert await proof.another("broker-1").round() == 10
    assert await proof.fault() is None


async def test_a_file_that_was_moved_away_ends_no_sealing(proof: Proof) -> None:
    (file,) = proof.folder.glob("*.jsonl")
    file.rename(file.with_name("audit-old.jsonl"))
    await proof.write(1)
    assert await proof.sealer.round() == 1
    assert await proof.fault() is None


async def test_of_a_line_that_the_disk_did_not_take_nothing_stays(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    await proof.write(2)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr("os.fsync", full)
        await proof.sealer.round()
    assert await proof.sealer.round() == 2
    assert await proof.fault() is None
    assert [number for number, _ in sealed_entries(proof.folder)] == [*range(1, 13)]


async def test_a_broker_whose_disk_is_full_keeps_no_other_from_sealing(proof: Proof, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await proof.store.leases.give_up("sealer", "broker-1")
    await proof.write(2)
    with pytest.raises(OSError, match="file"):
        await proof.another("broker-2", Segments(tmp_path / "file")).round()
    assert await proof.sealer.round() == 2
    assert await proof.fault() is None


async def test_entries_that_retention_dropped_are_no_fault(proof: Proof) -> None:
    await proof.store.audit.trim(4)
    assert await proof.fault() is None


@pytest.mark.parametrize(("dropped", "first"), [(4, 1), (10, 1), (0, None)])
async def test_what_is_too_young_for_retention_is_missed_at_the_beginning_too(
    proof: Proof, dropped: int, first: int | None
) -> None:  # fmt: skip
    await proof.store.audit.trim(dropped)
    keys = PublicKeys({"keys": [proof.key.public()]})
    for kept, found in ((NOW - timedelta(seconds=1), first), (NOW, None)):
        fault = (await verify_live(proof.folder, keys, proof.store.audit, proof.store.seals, kept=kept)).fault
        assert (fault.number if fault else None) == found


async def test_retention_drops_what_is_sealed_and_old_and_never_what_is_not(proof: Proof) -> None:
    await proof.write(3)
    later = NOW + timedelta(days=1)
    sealer = Sealer(
        proof.store.audit, proof.store.seals, proof.store.leases, Segments(proof.folder), proof.key, broker="b",
        clock=lambda: later, keep=timedelta(days=1),
    )  # fmt: skip
    await sealer.tidy()
    assert len(await proof.store.audit.raw(0, 100)) == 13
    later += timedelta(seconds=1)
    await sealer.tidy()
    assert [number for number, _ in await proof.store.audit.raw(0, 100)] == [11, 12, 13]
    await proof.sealer.round()
    await sealer.tidy()
    assert (await proof.store.audit.raw(0, 100), await proof.fault()) == ([], None)
    await proof.write(1)
    await proof.sealer.round()
    assert [number for number, _ in sealed_entries(proof.folder)] == [*range(1, 15)]


def test_the_private_key_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "signing-key.pem"
    first, again = signing_key(path), signing_key(path)
    assert first.name == again.name
    assert path.stat().st_mode & 0o777 == 0o600
