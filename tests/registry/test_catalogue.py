"""The catalogue on real servers and a real store: what is known, what is not any more, and what nobody can know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest

from broker.domain.servers import SeenTool, Server, ToolDefinition, ToolFacts
from broker.errors import StoreUnavailable, UpstreamUntouched
from broker.registry.catalogue import Catalogue
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.store.open import Store

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Toys:
    """Servers by name, each with the definitions that it gives when it is asked. One that is None is away."""

    def __init__(self) -> None:
        self.entries = {"files": Server(name="files", command=("files",), tools={"read": ToolFacts(read_only=True)})}
        self.offers: dict[str, list[dict[str, object]] | None] = {"files": [{"name": "read"}, {"name": "write"}]}
        self.asked = 0

    def server(self, name: str) -> Server | None:
        return self.entries.get(name)

    def names(self) -> Sequence[str]:
        return tuple(self.entries)

    def redefine(self, tool: str, **members: object) -> None:
        tools = self.offers["files"] or []
        self.offers["files"] = [{**raw, **members} if raw["name"] == tool else raw for raw in tools]

    def definition(self, tool: str) -> ToolDefinition:
        (raw,) = [raw for raw in self.offers["files"] or () if raw["name"] == tool]
        return ToolDefinition("files", tool, raw)

    async def probe(self, server: str) -> Listing:
        self.asked += 1
        offered = self.offers.get(server)
        if offered is None:
            raise UpstreamUntouched(f"{server} is away")
        return Listing(server, tuple(ToolDefinition(server, str(raw["name"]), raw) for raw in offered))


@pytest.fixture
def toys() -> Toys:
    return Toys()


@pytest.fixture
def pins(store: Store) -> Pins:
    return Pins(store.servers)


@pytest.fixture
def catalogue(toys: Toys, pins: Pins) -> Catalogue:
    return Catalogue(toys, toys, pins)


def seen(toys: Toys, tool: str, *, known: bool) -> SeenTool:
    definition = toys.definition(tool)
    return SeenTool(known, definition, definition.digest())


async def test_whether_a_tool_is_accepted_can_be_said_at_once_when_its_server_was_asked(catalogue: Catalogue) -> None:
    assert catalogue.accepted("files", "read") is None
    known = {tool: (await catalogue.look("files", tool)).known for tool in ("read", "write", "missing")}
    assert {tool: catalogue.accepted("files", tool) for tool in known} == known
    assert catalogue.accepted("elsewhere", "read") is None


async def test_a_listed_tool_is_known_and_another_is_not(toys: Toys, catalogue: Catalogue) -> None:
    assert await catalogue.look("files", "read") == seen(toys, "read", known=True)
    assert await catalogue.look("files", "write") == seen(toys, "write", known=False)
    assert await catalogue.look("files", "missing") == SeenTool(False, None)
    assert await catalogue.look("nobody", "read") == SeenTool(False, None)
    assert toys.asked == 1


async def test_an_accepted_tool_is_known_while_it_stays_as_it_was(toys: Toys, catalogue: Catalogue, pins: Pins) -> None:
    first = await pins.accept(toys.definition("write"), "jane", NOON, instead_of=None)
    assert (await catalogue.look("files", "write", fresh=True)).known
    toys.redefine("write", description="Writes, and tells everybody.")
    assert (await catalogue.look("files", "write", fresh=True)).known is False
    await pins.accept(toys.definition("write"), "jane", NOON, instead_of=first)
    assert (await catalogue.look("files", "write", fresh=True)).known


async def test_a_pinned_tool_that_changed_is_unknown_though_the_operator_lists_it(
    toys: Toys, catalogue: Catalogue, pins: Pins
) -> None:
    await pins.accept(toys.definition("read"), "jane", NOON, instead_of=None)
    toys.redefine("read", inputSchema={"type": "object"})
    assert (await catalogue.look("files", "read", fresh=True)).known is False
    await pins.drop("files", "read")
    assert (await catalogue.look("files", "read", fresh=True)).known


async def test_meta_is_no_part_of_what_was_accepted(toys: Toys, catalogue: Catalogue, pins: Pins) -> None:
    await pins.accept(toys.definition("write"), "jane", NOON, instead_of=None)
    toys.redefine("write", _meta={"build": 2})
    assert (await catalogue.look("files", "write", fresh=True)).known


async def test_a_callback_outside_of_any_task_hears_what_a_server_offered(catalogue: Catalogue) -> None:
    listing, loop = await catalogue.listing("files"), asyncio.get_running_loop()
    heard: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: heard.set_result(catalogue.last("files")), context=Context())  # as the broker runs: anyio's is empty
    assert (await asyncio.wait_for(heard, 1))[0] == listing


async def test_a_server_that_is_away_is_an_error_when_fresh_and_else_what_it_last_was(toys: Toys, catalogue: Catalogue) -> None:
    before = await catalogue.look("files", "read")
    toys.offers["files"] = None
    assert await catalogue.look("files", "read") == before
    with pytest.raises(UpstreamUntouched, match="files is away"):
        await catalogue.look("files", "read", fresh=True)
    assert (catalogue.problem("files"), catalogue.problem("nobody")) == ("files is away", "")


async def test_another_way_to_a_server_is_another_server(toys: Toys, catalogue: Catalogue) -> None:
    await catalogue.look("files", "read")
    toys.entries["files"] = msgspec.structs.replace(toys.entries["files"], command=("other",))
    toys.offers["files"] = None
    with pytest.raises(UpstreamUntouched):
        await catalogue.look("files", "read")


async def test_what_the_operator_lists_counts_at_once(toys: Toys, catalogue: Catalogue) -> None:
    await catalogue.look("files", "write")
    toys.entries["files"] = msgspec.structs.replace(toys.entries["files"], tools={"write": ToolFacts()})
    assert (await catalogue.look("files", "write")).known
    assert toys.asked == 1


async def test_a_definition_without_a_canonical_form_is_left_out(toys: Toys, catalogue: Catalogue) -> None:
    toys.redefine("read", inputSchema={"maximum": 2**60})
    assert await catalogue.look("files", "read") == SeenTool(True, None)
    assert await catalogue.schema("files", "read") is None


async def test_the_schema_is_none_where_nobody_knows_it(toys: Toys, catalogue: Catalogue) -> None:
    toys.redefine("read", inputSchema={"type": "object"})
    assert await catalogue.schema("files", "read") == {"type": "object"}
    assert await catalogue.schema("files", "missing") is None
    toys.entries["gone"] = Server(name="gone", command=("gone",))
    assert await catalogue.schema("gone", "read") is None


async def test_the_background_finds_changes_and_pins_and_tells_of_the_first_listing_and_of_each_other(
    toys: Toys, pins: Pins
) -> None:
    told: list[tuple[str, ...]] = []
    away = [True]

    async def listed(listing: Listing) -> None:
        if away.pop() if away else False:
            raise StoreUnavailable("away")
        told.append(tuple(str(tool.raw.get("description", "")) for tool in listing.tools))

    catalogue = Catalogue(toys, toys, pins, listed=listed, every=timedelta(milliseconds=5))
    with anyio.fail_after(10):
        async with catalogue.running():
            await until(lambda: told == [("", "")])  # told again after the first one failed
            toys.redefine("write", description="new")
            await until(lambda: told == [("", ""), ("", "new")])
            asked = toys.asked
            await until(lambda: toys.asked > asked + 3)
            assert told == [("", ""), ("", "new")]
            await pins.accept(toys.definition("write"), "jane", NOON, instead_of=None)
            await catalogue.read_pins()
            assert (await catalogue.look("files", "write")).known


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what is waited for happens in the background
        await anyio.sleep(0.005)


async def test_pins_that_cannot_be_read_let_nothing_be_known(toys: Toys, store: Store) -> None:
    class Away:
        async def all(self) -> dict[str, bytes]:
            raise StoreUnavailable("the store is away")

        async def get(self, name: str) -> bytes | None:
            raise StoreUnavailable("the store is away")

    catalogue = Catalogue(toys, toys, Pins(Away()))  # type: ignore[arg-type]  # only what is read
    for fresh in (False, True):
        with pytest.raises(StoreUnavailable):
            await catalogue.look("files", "read", fresh=fresh)
