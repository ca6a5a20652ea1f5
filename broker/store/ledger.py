"""The registry's records: written one after another under one count, each with a stamp later than every one before it.

So a reader that has seen a stamp has seen everything up to it, whichever broker it asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from broker.domain.events import Event, encode_event
from broker.registry.ports import Held
from broker.store import keys
from broker.store.clock import micros, told
from broker.store.connection import Commands
from broker.store.scripts import load

ENROL = load("enrol")


class RecordLedger:
    """`Ledger` on Redis."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def count(self) -> int:
        """How many writes there were: another number is another state."""
        return int(await self._commands.run("HGET", keys.enrolled_head(), "n") or 0)

    async def read(self) -> Held:
        """Everything, with the stamp that a write on top of it has to bear."""
        (count, last), row, now = await self._commands.run_all(
            ("HMGET", keys.enrolled_head(), "n", "at"), ("HGETALL", keys.enrolled()), ("TIME",)
        )
        at = told(now)
        if last is not None and (behind := int(last) + 1 - micros(at)) > 0:
            at += timedelta(microseconds=behind)
        return Held(int(count or 0), at, {name.decode(): value for name, value in zip(row[::2], row[1::2], strict=True)})

    async def notices(self) -> Mapping[str, bytes]:
        """What the tracker has to be told of yet, by a number that grows."""
        row = await self._commands.run("HGETALL", keys.enrolled_notices())
        return {name.decode(): value for name, value in zip(row[::2], row[1::2], strict=True)}

    async def told(self, notice: str) -> None:
        """Forget a notice."""
        await self._commands.run("HDEL", keys.enrolled_notices(), notice)

    async def write(self, name: str, record: bytes, held: Held, event: Event | None, notice: tuple[str, bytes] | None) -> bool:
        """Write one record on top of what was read, its event and its notice with it. False when somebody was faster."""
        told_id, told_body = notice or ("", b"")
        arguments = (name, held.count, micros(held.at), record, encode_event(event) if event else b"", told_id, told_body)
        touched = (keys.enrolled(), keys.enrolled_head(), keys.audit(), keys.audit_number(), keys.enrolled_notices())
        return bool(await self._commands.script(ENROL, touched, arguments))
