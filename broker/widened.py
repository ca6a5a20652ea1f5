"""Edits of the policy files, wired: each policy that comes into force is compared with the one before, once for all brokers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio.to_thread
import msgspec

from broker.chores import Chore, repeating
from broker.domain.events import Noted
from broker.domain.servers import ToolDefinition
from broker.errors import PolicyInvalid
from broker.outward import Outward
from broker.policy.model import Policy
from broker.registered import Registry
from broker.registry.pins import Pin
from broker.registry.standing import stands
from broker.registry.widened import Offer, Widened, Widenings, differences
from broker.store.open import Store
from broker.versions import Versions

EVERY = 2.0


class FileEdits:
    """Notes in the audit, and for each server's page, whom an edit of the files opened it to."""

    def __init__(self, registry: Registry, out: Outward, store: Store, versions: Versions, environment: str) -> None:
        self._registry = registry
        self._out = out
        self._store = store
        self._versions = versions
        self._environment = environment
        self._widenings = Widenings(store.widened)
        self._policy: Policy | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("widened", self.look, EVERY)):
            yield

    async def look(self) -> None:
        """Compare what is in force with what was before, if nobody has yet. Raises `StoreUnavailable`."""
        try:
            policy = self._registry.joined.current
        except PolicyInvalid:
            return
        known, self._policy = self._policy, policy
        if known is not None and known.digest == policy.digest:
            return
        try:
            before = await self._widenings.turn(policy.digest)
        except BaseException:
            self._policy = known  # it is looked at again
            raise
        if before is not None:
            await self._compare(known if known is not None and known.digest == before else await self._old(before), policy)

    async def _old(self, digest: str) -> Policy | None:
        return await anyio.to_thread.run_sync(lambda: self._versions.read(digest, environment=self._environment))

    async def _compare(self, old: Policy | None, new: Policy) -> None:
        """Enrolled servers keep their terms here: a review changes those, and says so itself."""
        if old is None:  # it was in force on another machine: what it allowed is not known here
            await self._note("policy.not_compared", policy=new.digest)
            return
        enrolled = self._registry.roster.servers()
        old = msgspec.structs.replace(old, servers={**enrolled, **{n: s for n, s in old.servers.items() if not s.enrolled}})
        pins: dict[str, dict[str, Pin]] = defaultdict(dict)
        for pin in await self._out.pins.every():
            pins[pin.server][pin.tool] = pin
        offers = {name: self._offers(name, pins[name]) for name in {*old.servers, *new.servers}}
        now = self._store.clock()
        for server, change in (await anyio.to_thread.run_sync(differences, old, new, offers, now)).items():
            kept = await self._widenings.keep(server, change, now, new.digest)
            if kept is not None:
                await self._widened(server, kept)

    def _offers(self, server: str, pins: Mapping[str, Pin]) -> list[Offer]:
        last = self._out.tools.last(server)
        if last is None:
            return [(ToolDefinition(server, pin.tool, pin.definition), True) for pin in pins.values()]
        found = stands(last[0], pins, ())
        return [(one.definition, one.standing.known if one.pin else None) for one in found if one.definition is not None]

    async def _widened(self, server: str, found: Widened) -> None:
        groups = ", ".join(found.groups)
        await self._note(
            "policy.widened", server=server, groups=groups, people=str(found.people), told=found.told, policy=found.policy
        )  # fmt: skip

    async def _note(self, what: str, **fields: str) -> None:
        await self._store.audit.append(Noted(at=self._store.clock(), what=what, fields=fields))
