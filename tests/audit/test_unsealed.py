"""What somebody with access to the store does to events before they are sealed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest

from broker.audit.chain import Seal
from broker.audit.keys import PublicKeys
from broker.audit.verify import verify_files
from broker.store import keys
from tests.audit.conftest import Proof


async def held_lease(proof: Proof) -> None:
    await proof.redis("SET", keys.lease("sealer"), "nobody")


async def spoilt_head(proof: Proof) -> None:
    await proof.store.seals.advance(await proof.store.seals.head(), b"{")


async def forged_head(proof: Proof) -> None:
    """Nobody signed it, and no seal can go on from it."""
    head = await proof.store.seals.head()
    seal = msgspec.json.decode(head, type=Seal)
    await proof.store.seals.advance(head, msgspec.json.encode(msgspec.structs.replace(seal, head="no hash")))


async def endless_head(proof: Proof) -> None:
    head = await proof.store.seals.head()
    await proof.store.seals.advance(head, (head or b"").replace(b'"shard":0', b'"shard":9007199254740993'))


async def head_without_its_beginning(proof: Proof) -> None:
    await proof.store.audit.trim(10)
    await proof.redis("HDEL", keys.shelf("seals"), "head")


@pytest.mark.parametrize("attack", [held_lease, spoilt_head, forged_head, endless_head, head_without_its_beginning])
async def test_who_keeps_the_brokers_from_sealing_is_found(proof: Proof, attack: Callable[[Proof], Awaitable[None]]) -> None:
    await attack(proof)
    await proof.write(3)
    with suppress(ValueError):  # a broker's log is full of it, once a second
        await proof.sealer.round()
    fault = await proof.fault()
    assert (fault and fault.number, fault and fault.where) == (11, "store")


def event_with(rest: bytes) -> bytes:
    return b'{"type":"noted","what":"w","at":"2026-11-24T10:00:00Z"%s' % rest


SPOILT = {
    "half": b"{",
    "nothing": b"",
    "two lines": b'{"at": "2026-11-24T10:00:00Z"\n}',
    "a way out of the line": b'{}],"seal":{"first":1}}',
    "no text": b"\xff",
    "a member that is no text": event_with(b',"who":"\xff"}'),
    "without end": event_with(b',"more":%s}' % (b"[" * 5_000 + b"]" * 5_000)),
    "of no place on earth": event_with(b"}").replace(b"00Z", b"00"),
    "blanks that a file does not keep": event_with(b"} "),
}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
async def test_what_somebody_spoilt_before_it_was_sealed_is_found_and_spoils_no_file(proof: Proof, spoilt: bytes) -> None:
    await proof.redis("XADD", keys.audit(), "11-0", "e", spoilt)
    await proof.redis("SET", keys.audit_number(), 11)
    await proof.write(2)
    assert await proof.sealer.round() == 3
    verified = verify_files(proof.folder, PublicKeys({"keys": [proof.key.public()]}))
    fault = await proof.fault()
    assert (verified.last, verified.fault, fault and fault.number, fault and fault.where) == (13, None, 11, "store")
    assert len(await proof.store.audit.read(0, 100)) == 13
    await proof.sealer.tidy()


async def test_a_gap_is_never_sealed_over(proof: Proof) -> None:
    await proof.write(3)
    await proof.redis("XDEL", keys.audit(), "12-0")
    assert await proof.sealer.round() == 1
    assert await proof.sealer.round() == 0
