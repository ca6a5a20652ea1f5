from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from broker.domain.events import Entry
from broker.errors import StoreUnavailable
from broker.store import keys
from broker.store.audit import DRAIN
from broker.store.connection import Commands
from broker.store.open import Store, open_store
from broker.store.spool import Spool, Spooled, SpoolFile
from tests.fakes.samples import noted
from tests.fakes.waiting import until

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def spooled(what: str) -> Spooled:
    return Spooled(noted(what, NOW))


def files(data: Path) -> list[Path]:
    return sorted((data / "spool").glob("*.jsonl"))


async def test_what_a_dead_process_left_is_drained_by_the_next(store: Store, tmp_path: Path) -> None:
    left = Spool(tmp_path / "other")
    for number in range(600):
        await left.put(spooled(f"fact.{number}"))
    [path] = files(tmp_path / "other")
    await left.close()
    async with open_store(store.url, data=tmp_path / "other", broker_id="broker-2") as second:
        await second.audit.drain()
        drained = await second.audit.read(0, 1_000)
    assert drained == [Entry(number + 1, noted(f"fact.{number}", NOW)) for number in range(600)]
    assert not path.exists()


async def test_the_spool_of_a_living_process_is_left_to_it(store: Store, tmp_path: Path) -> None:
    theirs = Spool(tmp_path / "data")  # the same folder as the store's own
    await theirs.put(spooled("theirs"))
    await store.audit.drain()
    assert await store.audit.read(0, 10) == []
    assert len(files(tmp_path / "data")) == 1
    await theirs.close()
    await store.audit.drain()
    assert [entry.event for entry in await store.audit.read(0, 10)] == [noted("theirs", NOW)]


async def test_a_line_cut_off_by_a_crash_and_one_that_is_damaged_are_left_out(store: Store, tmp_path: Path) -> None:
    left = Spool(tmp_path / "data")
    for what in ("first", "second", "third"):
        await left.put(spooled(what))
    await left.close()
    [path] = files(tmp_path / "data")
    lines = path.read_bytes().splitlines(keepends=True)
    flipped = lines[1].replace(b"second", b"sec\xffnd")
    path.write_bytes(lines[0] + b"\x00" * len(lines[1][:-1]) + b"\n" + flipped + lines[2] + lines[0][:20])
    await store.audit.drain()
    assert [entry.event for entry in await store.audit.read(0, 10)] == [noted("first", NOW), noted("third", NOW)]


async def test_a_drain_that_fails_is_tried_again(store: Store, raw: Commands, tmp_path: Path) -> None:
    left = Spool(tmp_path / "data")
    await left.put(spooled("late"))
    [path] = files(tmp_path / "data")
    await raw.run("SET", keys.audit_lane(path.stem), "spoilt")
    await left.close()
    with pytest.raises(ValueError, match="spoilt"):
        await store.audit.drain()
    failed = asyncio.get_running_loop().time() + DRAIN

    async def drained() -> bool:
        if asyncio.get_running_loop().time() > failed:  # the store's own round has failed as well
            await raw.run("DEL", keys.audit_lane(path.stem))
        return not path.exists()

    await until(drained)
    assert [entry.event for entry in await store.audit.read(0, 10)] == [noted("late", NOW)]


async def test_what_comes_after_the_end_is_kept_for_the_next_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    await spool.put(spooled("before"))
    await spool.close()
    with anyio.fail_after(5):
        await spool.put(spooled("after"))
    await spool.close()
    assert len(files(tmp_path)) == 2


async def test_a_drain_that_broke_off_is_taken_up_where_it_stood(store: Store, tmp_path: Path) -> None:
    """The file is still there after its lines went in: a crash came before its removal."""
    left = Spool(tmp_path / "data")
    for number in range(300):
        await left.put(spooled(f"fact.{number}"))
    await left.close()
    [path] = files(tmp_path / "data")
    content = path.read_bytes()
    await store.audit.drain()
    path.write_bytes(content)
    await store.audit.drain()
    assert await store.audit.last() == 300
    assert not path.exists()


async def test_the_spool_is_ours_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    await spool.put(spooled("secret"))
    [path] = files(tmp_path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    await spool.close()


async def test_an_unused_spool_leaves_no_file(store: Store, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "data")
    await spool.put(spooled("fact"))
    await spool.close()
    await store.audit.drain()
    assert files(tmp_path / "data") == []


async def test_where_the_disk_takes_nothing_either_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("no folder can be made here")
    with pytest.raises(StoreUnavailable, match="neither in the store nor on disk"):
        await Spool(tmp_path).put(spooled("fact"))


def test_a_write_that_failed_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with Path("/dev/full").open("ab+", buffering=0) as full, pytest.raises(OSError, match="No space"):
        SpoolFile(tmp_path / "x", full).write(b"line\n")
