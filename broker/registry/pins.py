"""Pins: definitions of tools that somebody accepted, as they were then. A pinned tool is known while it stays as it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from broker.domain.servers import ToolDefinition
from broker.errors import VersionConflict
from broker.registry.ports import Shelf


class Pin(msgspec.Struct, frozen=True):
    """One accepted definition: the whole of it, so that a change can be shown, its digest, who accepted it and when."""

    server: str
    tool: str
    digest: str
    definition: dict[str, Any]
    by: str
    at: datetime

    def holds(self, definition: ToolDefinition | None) -> bool:
        """Is the tool as it was accepted?"""
        return definition is not None and definition.digest() == self.digest


class _Mark(msgspec.Struct, frozen=True):
    """As much of a pin as tells whether a tool is still the same: all pins are read often."""

    server: str
    tool: str
    digest: str


_decode = msgspec.json.Decoder(Pin).decode
_mark = msgspec.json.Decoder(_Mark).decode


class Pins:
    """The pins of all servers, in the store. Each method raises `StoreUnavailable`."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def digests(self) -> dict[tuple[str, str], str]:
        """The digest of every pinned tool, by server and tool."""
        marks = [_mark(value) for value in (await self._shelf.all()).values()]
        return {(mark.server, mark.tool): mark.digest for mark in marks}

    async def get(self, server: str, tool: str) -> Pin | None:
        held = await self._shelf.get(_name(server, tool))
        return _decode(held) if held else None

    async def of(self, server: str) -> dict[str, Pin]:
        """The pins of one server, by tool."""
        pins = [_decode(value) for name, value in (await self._shelf.all()).items() if name.startswith(_name(server, ""))]
        return {pin.tool: pin for pin in sorted(pins, key=lambda pin: pin.tool)}

    async def every(self) -> list[Pin]:
        """All pins, by server and tool."""
        held = await self._shelf.all()
        return [_decode(held[name]) for name in sorted(held)]

    async def accept(self, definition: ToolDefinition, by: str, at: datetime, *, instead_of: Pin | None) -> Pin:
        """Pin a definition in place of the pin that was looked at. Raises `VersionConflict` if another one is there by now."""
        told = {name: value for name, value in definition.raw.items() if name != "_meta"}
        pin = Pin(definition.server, definition.name, definition.digest(), told, by, at)
        name = _name(definition.server, definition.name)
        held = await self._shelf.get(name)
        if (held and _decode(held)) != instead_of or not await self._shelf.swap(name, held, msgspec.json.encode(pin)):
            raise VersionConflict(f"somebody else has just pinned {definition.name}: look at it again")
        return pin

    async def drop(self, server: str, tool: str) -> bool:
        """Take a pin away. Returns whether there was one."""
        return await self._shelf.delete(_name(server, tool))


def _name(server: str, tool: str) -> str:
    return f"{server}/{tool}"
