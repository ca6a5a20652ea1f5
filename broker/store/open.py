"""Opens the store: the embedded one or a given server, with all its parts, for the wiring."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from broker.errors import ConfigInvalid
from broker.store import keys, scripts
from broker.store.audit import Audit
from broker.store.changes import ChangeStream
from broker.store.cipher import Cipher
from broker.store.clock import Clock
from broker.store.connection import Commands
from broker.store.counters import WindowCounters
from broker.store.credentials import HashedCredentials
from broker.store.durability import Durability
from broker.store.embedded import Embedded
from broker.store.feedback import FeedbackAnswers
from broker.store.health import Pulse
from broker.store.leases import Leases
from broker.store.ledger import RecordLedger
from broker.store.once import Once
from broker.store.outbox import TAKEOVER, StreamOutbox
from broker.store.presence import Presence
from broker.store.recordings import Recordings
from broker.store.requests import Observe, Requests
from broker.store.sealing import SigningKeys
from broker.store.shelf import SealHead, Shelf
from broker.store.slack import SlackStore, Wanted, slack_store
from broker.store.spool import Spool
from broker.store.usage import UsageCounts

log = structlog.get_logger()

OLDEST = (6, 2)


@dataclass(frozen=True)
class Store:
    """All parts of an open store. `clock()` is its time; `url` leads other processes to it."""

    requests: Requests
    changes: ChangeStream
    outbox: StreamOutbox
    audit: Audit
    counters: WindowCounters
    credentials: HashedCredentials
    keys: SigningKeys
    servers: Shelf
    enrolled: RecordLedger
    refused: Shelf
    widened: Shelf
    stops: Shelf
    seals: SealHead
    leases: Leases
    once: Once
    presence: Presence
    durability: Durability
    recordings: Recordings
    agreed: Shelf
    slack: SlackStore
    usage: UsageCounts
    feedback: FeedbackAnswers
    devices: Shelf
    pushes: Wanted
    health: Pulse
    clock: Clock
    url: str


@asynccontextmanager
async def open_store(  # noqa: PLR0913 - everything that makes one store another, by name
    url: str | None = None, *, data: Path, broker_id: str, keep_answers: timedelta = timedelta(minutes=15), redis_bin: str = "",
    observe: Observe = lambda event, request: None, encryption: Sequence[bytes] = (), takeover: timedelta = TAKEOVER,
) -> AsyncIterator[Store]:  # fmt: skip
    """Open the store at `url`, or the embedded one of the folder `data`; the spool lies in `data` in any case.

    Raises `ConfigInvalid` when the server is too old, holds another format or what another data key sealed, or has no binary,
    `StoreUnavailable` when it does not answer.
    """
    cipher = Cipher(encryption)
    async with AsyncExitStack() as closing:
        pulse, name = Pulse(), "approval-broker:" + re.sub(r"[^!-~]", "-", broker_id)
        url = url if url is not None else await _embedded(closing, Embedded(data, redis_bin), pulse)
        commands = await _connected(closing, url, name, pulse, broker_id, cipher)
        changes = await _followed(closing, ChangeStream(url, name))
        audit = _writing(closing, Audit(commands, Spool(data), pulse, broker=broker_id, observe=observe))
        recordings = Recordings(commands, cipher)
        closing.push_async_callback(recordings.stop)
        yield Store(
            requests=Requests(commands, broker=broker_id, keep_answers=keep_answers, observe=observe, cipher=cipher),
            changes=changes,
            outbox=StreamOutbox(commands, changes, broker=broker_id, takeover=takeover),
            audit=audit,
            counters=WindowCounters(commands),
            credentials=HashedCredentials(commands, cipher),
            keys=SigningKeys(commands, cipher),
            servers=Shelf(commands, "servers"),
            enrolled=RecordLedger(commands),
            refused=Shelf(commands, "refused"),
            widened=Shelf(commands, "widened"),
            stops=Shelf(commands, "stops"),
            seals=SealHead(Shelf(commands, "seals")),
            leases=Leases(commands),
            once=Once(commands),
            presence=Presence(commands, pulse.clock),
            durability=Durability(commands),
            recordings=recordings,
            agreed=Shelf(commands, "agreed"),
            slack=slack_store(commands, broker_id),
            usage=UsageCounts(commands),
            feedback=FeedbackAnswers(commands),
            devices=Shelf(commands, "push-devices"),
            pushes=Wanted(commands, "push"),
            health=pulse,
            clock=pulse.clock,
            url=url,
        )


def _writing(closing: AsyncExitStack, audit: Audit) -> Audit:
    closing.push_async_callback(audit.stop)
    audit.start()
    return audit


async def _followed(closing: AsyncExitStack, changes: ChangeStream) -> ChangeStream:
    closing.push_async_callback(changes.stop)
    await changes.start()
    return changes


async def _embedded(closing: AsyncExitStack, embedded: Embedded, pulse: Pulse) -> str:
    closing.push_async_callback(embedded.stop)
    await embedded.start()
    closing.push_async_callback(_ended, asyncio.create_task(embedded.watch(pulse)))
    return embedded.url


async def _connected(
    closing: AsyncExitStack, url: str, name: str, pulse: Pulse, broker_id: str, cipher: Cipher
) -> Commands:  # fmt: skip
    commands = Commands(url, name, pulse.seen)
    closing.push_async_callback(commands.stop)
    commands.start()
    await _check(commands)
    await SigningKeys(commands, cipher).check()
    # a first rush of calls would otherwise send each script's text once a call
    await commands.run_all(*(("SCRIPT", "LOAD", script.text) for script in scripts.every()))
    closing.push_async_callback(pulse.stop)
    await pulse.start(commands, broker_id)
    return commands


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _check(commands: Commands) -> None:
    """Refuse a server that is too old, and a store that another format of ours has written."""
    info: bytes = await commands.run("INFO")
    told = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    version = told.get("redis_version", "0")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise ConfigInvalid(f"the store is version {version}: Redis 6.2 or any Valkey is the oldest that will do")
    if told.get("maxmemory_policy", "noeviction") != "noeviction":
        log.warning("store.may_evict", mend="set maxmemory-policy to noeviction: parked calls must not disappear")
    if told.get("aof_enabled") == "0":
        log.warning("store.may_forget", mend="set appendonly to yes: a crash of the server loses what was decided")
    ours = (str(keys.FORMAT).encode(), str(keys.SHARDS).encode())
    await commands.run_all(("HSETNX", keys.meta(), "format", ours[0]), ("HSETNX", keys.meta(), "shards", ours[1]))
    if tuple(await commands.run("HMGET", keys.meta(), "format", "shards")) != ours:
        raise ConfigInvalid("the store was written by another version of the broker, or with another number of shards")
