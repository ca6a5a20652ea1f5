"""The catalogue of tools: what each server offers, as last asked, and which of it is known. Implements `Tools` of approvals.

A tool is known if it was accepted (pinned) and still is as it was then, or, where nobody pinned it, if the operator lists it.
(An enrolled server has no operator: what it offers is known by its pins alone.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import anyio
import msgspec
import structlog

from broker.chores import beside
from broker.domain.servers import SeenTool, Server, ToolDefinition
from broker.errors import BrokerError, Malformed, StoreUnavailable, UpstreamError
from broker.registry.gathering import Gathering
from broker.registry.pins import Pins
from broker.registry.ports import Listing, Prober, Servers
from broker.registry.pulses import Live, Pulse, Pulses

log = structlog.get_logger()

EVERY = timedelta(minutes=1)
# Pins are written rarely, and from anywhere: this often they are read again.
PINS_EVERY = timedelta(seconds=5)
# Seconds before somebody who could not be told of a listing is told again.
AGAIN = 1.0
# Seconds after which a server that does not answer a question counts as down.
PATIENCE = 4.0


class _Tool(msgspec.Struct, frozen=True):
    """A tool as listed, with the digest that is dear to make."""

    definition: ToolDefinition
    digest: str


class _Offer(msgspec.Struct, frozen=True):
    """What a server offers, when it was asked by the loop's clock, and by which way: another way is another server."""

    listing: Listing
    tools: dict[str, _Tool]
    way: tuple[Any, ...]
    at: float


Listed = Callable[[Listing], Awaitable[None]]
"""Told of each listing that differs from the one before it, and of the first."""


class Catalogue:
    """`look` is quick once a server was asked; `running` keeps asking in the background."""

    def __init__(
        self, servers: Servers, prober: Prober, pins: Pins, *, listed: Listed | None = None, every: timedelta = EVERY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._servers = servers
        self._prober = prober
        self._pins = pins
        self._listed = listed or _nobody
        self._every = every
        self._clock = clock
        self._pulses = Pulses()
        self._probing: set[str] = set()
        self._offers: dict[str, _Offer] = {}
        self._problems: dict[str, str] = {}
        self._pinned: dict[tuple[str, str], str] | None = None
        self._untold: dict[str, Listing] = {}
        self._news = asyncio.Event()
        self._asking: Gathering[str, _Offer] = Gathering(self._ask)

    async def look(self, server: str, tool: str, *, fresh: bool = False) -> SeenTool:
        """Return the tool as last asked; `fresh` asks the server and the pins now.

        Raises an `UpstreamError` when the server was never heard, or can't be asked freshly; `StoreUnavailable` when it is
        not known what was pinned.
        """
        entry = self._servers.server(server)
        if entry is None:
            return SeenTool(False, None)
        offer = self._offers.get(server)
        if fresh or offer is None or offer.way != _way(entry):
            offer = await self._asking.get(server)
        pins = None if fresh else self._pinned
        pinned = pins.get((server, tool), "") if pins is not None else await self._pin(server, tool, fresh=fresh)
        found = offer.tools.get(tool)
        known = _known(entry, tool, found, pinned)
        return SeenTool(known, found.definition, found.digest) if found else SeenTool(known, None)

    def accepted(self, server: str, tool: str) -> bool | None:
        """Is the tool known, as `look` would say? None where it would have to ask first."""
        entry, offer = self._servers.server(server), self._offers.get(server)
        if entry is None or offer is None or offer.way != _way(entry) or self._pinned is None:
            return None
        return _known(entry, tool, offer.tools.get(tool), self._pinned.get((server, tool), ""))

    async def schema(self, server: str, tool: str) -> Mapping[str, Any] | None:
        """The input schema of a tool as last asked, None where it is not known."""
        try:
            definition = (await self.look(server, tool)).definition
        except BrokerError:
            return None
        return definition.input_schema if definition else None

    async def listing(self, server: str, *, fresh: bool = False) -> Listing:
        """Everything that a server offers. Raises an `UpstreamError`."""
        offer = self._offers.get(server)
        if fresh or offer is None:
            offer = await self._asking.get(server)
        return offer.listing

    def last(self, server: str) -> tuple[Listing, float] | None:
        """What a server offered when it last answered, and how many seconds ago; None where it never did. Asks nobody.

        Callbacks ask this too, outside of any task: anyio would tell them no time.
        """
        offer = self._offers.get(server)
        return (offer.listing, monotonic() - offer.at) if offer is not None else None

    def problem(self, server: str) -> str:
        """Why the server could not be asked the last time; empty when it could."""
        return self._problems.get(server, "")

    def live(self, server: str) -> Live | None:
        """How a server answered lately; None where it was never asked."""
        return self._pulses.live(server)

    async def read_pins(self) -> None:
        """Raises `StoreUnavailable`; what was read before stays in force."""
        self._pinned = await self._pins.digests()

    async def _pin(self, server: str, tool: str, *, fresh: bool) -> str:
        """The digest that was accepted for a tool; empty where none was."""
        if fresh:
            pin = await self._pins.get(server, tool)
            return pin.digest if pin else ""
        if self._pinned is None:
            await self.read_pins()
        return (self._pinned or {}).get((server, tool), "")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask every server again and again while this is open, and read the pins."""
        try:
            async with beside() as tasks:
                for work in (self._keep_asking, self._keep_pins, self._keep_telling):
                    tasks.start_soon(work)
                yield
        finally:
            await self._asking.close()

    async def _keep_asking(self) -> None:
        """One server that hangs must not keep the others from being asked."""
        async with anyio.create_task_group() as tasks:
            while True:
                for server in {*self._servers.names()} - self._probing:
                    tasks.start_soon(self._asked, server)
                await anyio.sleep(self._every.total_seconds())

    async def _keep_pins(self) -> None:
        while True:
            try:
                await self.read_pins()
            except StoreUnavailable:
                pass
            except Exception:
                log.exception("registry.pins_unreadable")
            await anyio.sleep(PINS_EVERY.total_seconds())

    async def _asked(self, server: str) -> None:
        self._probing.add(server)
        try:
            with anyio.fail_after(PATIENCE):
                await self._asking.get(server)
        except TimeoutError:
            self._silent(server, f"the server {server} has not answered for {PATIENCE:.0f} s")
        except UpstreamError as error:
            log.info("registry.unreachable", server=server, why=error.message)
        except Exception:
            log.exception("registry.broke", server=server)
        finally:
            self._probing.discard(server)

    def _silent(self, server: str, why: str) -> None:
        self._problems[server] = why
        self._pulses.beat(server, Pulse(self._clock(), error=why))

    async def _ask(self, server: str) -> _Offer:
        entry, before = self._servers.server(server), self._offers.get(server)
        try:
            listing = await self._prober.probe(server)
        except UpstreamError as error:
            self._silent(server, error.message)
            raise
        self._problems.pop(server, None)
        self._pulses.beat(server, Pulse(self._clock(), listing.seconds))
        offer = self._offers[server] = _Offer(listing, _tools(listing), _way(entry) if entry else (), monotonic())
        if before is None or _digests(before) != _digests(offer):
            self._untold[server] = listing
            self._news.set()
        return offer

    async def _keep_telling(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            for listing in tuple(self._untold.values()):
                await self._tell(listing)
            if self._untold:
                await anyio.sleep(AGAIN)
                self._news.set()

    async def _tell(self, listing: Listing) -> None:
        try:
            await self._listed(listing)
        except StoreUnavailable:
            return  # told again later
        except Exception:
            log.exception("registry.untold", server=listing.server)
        if self._untold.get(listing.server) is listing:
            del self._untold[listing.server]


def _known(entry: Server, tool: str, found: _Tool | None, pinned: str) -> bool:
    return (found is not None and found.digest == pinned) if pinned else (tool in entry.tools and not entry.enrolled)


def _tools(listing: Listing) -> dict[str, _Tool]:
    tools = {}
    for tool in listing.tools:
        try:
            tools[tool.name] = _Tool(tool, tool.digest())
        except Malformed as error:  # what has no digest can't be reviewed: it is left out, so it is not known
            log.warning("registry.no_digest", server=listing.server, tool=tool.name, why=error.message)
    return tools


async def _nobody(listing: Listing) -> None:
    """There is nobody to be told."""


def _way(entry: Server) -> tuple[Any, ...]:
    return entry.url, entry.command, entry.env, entry.cwd, entry.headers, entry.auth


def _digests(offer: _Offer) -> dict[str, str]:
    return {name: tool.digest for name, tool in offer.tools.items()}
