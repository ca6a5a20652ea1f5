"""The servers of files, as the official API tells of them: when each came, changed and went, the same on every broker.

Files bear no times of their own that brokers would agree about. So whoever is asked first after a change of the files notes it
among the registry's records, with the stamp that any other change would have got.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from broker.domain.calls import digest_of
from broker.domain.servers import Server
from broker.errors import PolicyInvalid, VersionConflict
from broker.registry.ports import Ledger
from broker.registry.roster import DECLARED, Declaration, Roster, declarations

TRIES = 40


class Declarations:
    """`note` before reading: then the roster knows what the files say now. `declared` raises `PolicyInvalid`."""

    def __init__(self, ledger: Ledger, roster: Roster, declared: Callable[[], Mapping[str, Server]]) -> None:
        self._ledger = ledger
        self._roster = roster
        self._declared = declared
        self._noted: Mapping[str, Server] | None = None

    async def note(self) -> None:
        """Raises `StoreUnavailable`. Where no policy ever was good, nobody knows what the files say: nothing is noted."""
        with suppress(PolicyInvalid):
            servers = self._declared()
            if servers is not self._noted:
                await self._write({name: told(server) for name, server in servers.items()})
                self._noted = servers
        await self._roster.look()

    async def _write(self, now: Mapping[str, dict[str, Any]]) -> None:
        for _ in range(TRIES):
            held = await self._ledger.read()
            before = declarations(held)
            after = merged(before, now, held.at)
            if after == before or await self._ledger.write(DECLARED, msgspec.json.encode(after), held, None, None):
                return
        raise VersionConflict("others write the registry all the time: try again")


def told(server: Server) -> dict[str, Any]:
    """What clients may know of a declared server: nothing of how it is reached."""
    about = f"{server.name}, of {server.owner.team}" if server.owner.team else f"{server.name}, declared by the operator"
    facts = {name: msgspec.to_builtins(known) for name, known in sorted(server.tools.items())}
    return {
        "description": about[:100], "team": server.owner.team, "contact": server.owner.contact, "tools": facts,
        "groups": server.groups, "sign_in": server.sign_in,
        **({"experiment": True} if server.experiment else {}),
        **({"discovery": server.discovery} if server.discovery else {}),
    }  # fmt: skip


def merged(
    before: Mapping[str, Declaration], now: Mapping[str, dict[str, Any]], at: datetime
) -> dict[str, Declaration]:  # fmt: skip
    """Return the record after the files were read at `at`. What is gone stays, as gone: copies of the list have to hear it."""
    after = dict(before)
    for name, about in now.items():
        version = f"1.0.0+{digest_of(about).removeprefix('sha256:')[:12]}"
        held = before.get(name)
        if held is None or held.gone or held.version != version:
            after[name] = Declaration(version, about, at)
    for name, held in before.items():
        if name not in now and not held.gone:
            after[name] = msgspec.structs.replace(held, gone=True, at=at)
    return after
