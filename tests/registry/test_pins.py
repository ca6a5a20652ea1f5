"""Pins in a real store: whole definitions, accepted by somebody, and never in place of what they did not look at."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from broker.domain.servers import ToolDefinition
from broker.errors import VersionConflict
from broker.registry.pins import Pin, Pins
from broker.store.open import Store

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ECHO = ToolDefinition("files", "echo/it", {"name": "echo/it", "inputSchema": {"type": "object"}, "_meta": {"x": 1}})
OTHER = ToolDefinition("files", "echo/it", {"name": "echo/it", "description": "Other"})


async def test_a_definition_is_accepted_whole_without_its_meta(store: Store) -> None:
    pins = Pins(store.servers)
    pin = await pins.accept(ECHO, "jane@example.com", NOON, instead_of=None)
    assert pin == Pin(
        "files", "echo/it", ECHO.digest(), {"name": "echo/it", "inputSchema": {"type": "object"}}, "jane@example.com", NOON
    )
    assert await pins.get("files", "echo/it") == pin
    assert await pins.of("files") == {"echo/it": pin}
    assert await pins.of("file") == {}
    assert await pins.digests() == {("files", "echo/it"): ECHO.digest()}
    assert (pin.holds(ECHO), pin.holds(OTHER), pin.holds(None)) == (True, False, False)


async def test_a_pin_only_replaces_the_one_that_was_looked_at(store: Store) -> None:
    pins = Pins(store.servers)
    first = await pins.accept(ECHO, "jane", NOON, instead_of=None)
    with pytest.raises(VersionConflict):
        await pins.accept(OTHER, "joe", NOON, instead_of=None)
    second = await pins.accept(OTHER, "joe", NOON, instead_of=first)
    with pytest.raises(VersionConflict):
        await pins.accept(ECHO, "jane", NOON, instead_of=first)
    assert await pins.get("files", "echo/it") == second


async def test_of_many_at_once_one_is_accepted(store: Store) -> None:
    pins, accepted, refused = Pins(store.servers), [], []

    async def accept(name: str) -> None:
        try:
            accepted.append(await pins.accept(ECHO, name, NOON, instead_of=None))
        except VersionConflict:
            refused.append(name)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(accept, f"person {number}")
    assert (len(accepted), len(refused)) == (1, 19)
    assert await pins.get("files", "echo/it") == accepted[0]


async def test_a_dropped_pin_is_gone(store: Store) -> None:
    pins = Pins(store.servers)
    await pins.accept(ECHO, "jane", NOON, instead_of=None)
    assert [await pins.drop("files", "echo/it") for _ in range(2)] == [True, False]
    assert await pins.digests() == {}
