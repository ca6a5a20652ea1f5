"""What an edit of the policy files opened: for each server, who gained what, kept for its page until it is taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from broker.domain.servers import Server, ToolDefinition
from broker.policy.model import Policy
from broker.policy.widening import Offered, Widening, between

Offer = tuple[ToolDefinition, bool | None]
"""A tool as it is offered: is it as somebody accepted it? None: nobody did, and it is known where the files name it."""


class Widened(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came with the policy `policy` at `at`. `people`: how many of people.yaml gained anything; `told` is a sentence."""

    at: datetime
    policy: str
    told: str
    groups: tuple[str, ...] = ()
    people: int = 0


class Shelf(Protocol):
    """Named values of all brokers. Each method raises `StoreUnavailable`."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes) -> None: ...

    async def swap(self, name: str, before: bytes | None, after: bytes) -> bool: ...

    async def delete(self, name: str) -> bool: ...


ANY = "any tool"
"""Stands for the tools of a server of which none is known."""

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Widened).decode
# Under this name lies the digest of the policy that was compared last: no server has a name with a space.
_LAST = "last policy"


class Widenings:
    """What was opened by files and not taken back since, by server."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def of(self, server: str) -> Widened | None:
        found = await self._shelf.get(server)
        return _decode(found) if found is not None else None

    async def turn(self, digest: str) -> str | None:
        """Take the turn to compare a policy that came into force with the one before it, whose digest is returned.

        None: there was none before, or another broker has taken it.
        """
        before = await self._shelf.get(_LAST)
        if before == digest.encode() or not await self._shelf.swap(_LAST, before, digest.encode()):
            return None
        return before.decode() if before is not None else None

    async def keep(self, server: str, found: Widening, at: datetime, policy: str) -> Widened | None:
        """Keep what was opened, and return it. What narrows takes back what was opened before."""
        if not found.widens:
            await self._shelf.delete(server)
            return None
        widened = Widened(at, policy, found.told, tuple(found.groups), len(found.people))
        await self._shelf.put(server, _encode(widened))
        return widened


def differences(
    old: Policy, new: Policy, offers: Mapping[str, Iterable[Offer]], now: datetime
) -> dict[str, Widening]:  # fmt: skip
    """Return, for each server of either policy whose callers gain or lose anything, what they do.

    Where rules and people are the same, servers that are the same are not looked at: that is most of them, and takes long.
    """
    found, alike = {}, bool(old.beside) and old.beside == new.beside
    for name in sorted({*old.servers, *new.servers}):
        if alike and old.servers.get(name) == new.servers.get(name):
            continue
        tools = _offered(name, old.servers.get(name), new.servers.get(name), offers.get(name, ()))
        change = between(old, new, name, tools, now)
        if change.widens or change.narrows:
            found[name] = change
    return found


def _offered(name: str, before: Server | None, after: Server | None, offers: Iterable[Offer]) -> tuple[Offered, ...]:
    """The tools that are offered, with those that the files name beside them: nobody may have asked the server yet."""
    old, new = before.tools if before is not None else {}, after.tools if after is not None else {}
    found: dict[str, Offer] = {tool: (ToolDefinition(name, tool, {"name": tool}), None) for tool in (*old, *new)}
    found |= {definition.name: (definition, accepted) for definition, accepted in offers}
    if not found:  # nobody knows its tools: what opens must show all the same
        found = {ANY: (ToolDefinition(name, ANY, {"name": ANY}), True)}
    return tuple(
        Offered(definition, _known(accepted, tool in old), _known(accepted, tool in new))
        for tool, (definition, accepted) in found.items()
    )


def _known(accepted: bool | None, named: bool) -> bool:
    return named if accepted is None else accepted
