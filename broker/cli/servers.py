"""`broker servers`: the guarded servers, what they offer now, and which of it was accepted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from broker.cli.credentials import Office, office
from broker.cli.servers_diff import add_diff
from broker.cli.servers_registry import add_verbs, enrolments
from broker.domain.text import clipped
from broker.errors import ConfigInvalid, UpstreamError

if TYPE_CHECKING:
    from broker.domain.servers import Server
    from broker.registry.pins import Pin, Pins
    from broker.registry.ports import Listing
    from broker.registry.standing import Stand
    from broker.upstream.probe import Prober


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `servers ls|show|probe|pin|diff` and the registry's verbs."""
    group = commands.add_parser("servers", help="guarded servers: list, probe, accept their tools, enrol, review")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    verbs.add_parser("ls", help="list the servers of the catalogue").set_defaults(run=_ls)
    show = verbs.add_parser("show", help="one server: how it is reached, whose it is, its tools")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=_show)
    probe = verbs.add_parser("probe", help="ask servers what they offer, and show what changed since it was accepted")
    probe.add_argument("names", nargs="*", metavar="NAME", help="all servers, if none is given")
    probe.set_defaults(run=_probe)
    pin = verbs.add_parser("pin", help="accept the tools of a server as they are defined now")
    pin.add_argument("name", metavar="NAME")
    pin.add_argument("tools", nargs="*", metavar="TOOL", help="all of its tools, if none is given")
    pin.add_argument("--yes", action="store_true", help="do not ask")
    pin.add_argument("--drop", action="store_true", help="take the acceptance back")
    pin.set_defaults(run=_pin)
    add_diff(verbs)
    add_verbs(verbs)


def _ls(args: argparse.Namespace) -> int:
    return anyio.run(_list)


async def _list() -> int:
    async with office() as here:
        digests = await _pins(here).digests()
        for name, server in sorted(here.policy.servers.items()):
            pinned = sum(owner == name for owner, _ in digests)
            whose = f"owner {server.owner.team or 'nobody'}, {server.trust}"
            print(f"{name}  {clipped(_way(server), 60)}  {whose}  {len(server.tools)} listed, {pinned} pinned")
        for one in sorted((await enrolments(here)).values(), key=lambda one: one.local):
            pinned = sum(owner == one.local for owner, _ in digests)
            live = one.live.version if one.live else "no call"
            print(f"{one.local}  {one.name}  owner {one.keeper.group}, {one.lifecycle}, {live}  {pinned} pinned")
    return 0


def _show(args: argparse.Namespace) -> int:
    return anyio.run(_describe, args.name)


async def _describe(name: str) -> int:
    from broker.registry.listing_text import enrolled_lines, facts_line  # noqa: PLC0415 - the command line starts fast

    async with office() as here:
        if found := [one for one in (await enrolments(here)).values() if name in (one.name, one.local)]:
            print("\n".join(enrolled_lines(found[0], await _pins(here).of(found[0].local))))
            return 0
        server, pins = _server(here.policy.servers, name), await _pins(here).of(name)
    print(f"{name}: {_way(server)}")
    print(f"owner: {server.owner.team or 'nobody'} {server.owner.contact}".rstrip())
    print(f"trust: {server.trust}")
    if server.headers or server.env:
        print(f"its own credentials: {', '.join((*server.headers, *server.env))}")
    if server.per_session:
        print("one process for each session")
    for tool in sorted({*server.tools, *pins}):
        print(f"  {tool}: {facts_line(server.tools.get(tool), pins.get(tool))}")
    return 0


def _probe(args: argparse.Namespace) -> int:
    return anyio.run(_ask, args.names)


async def _ask(names: Sequence[str]) -> int:
    """0: everything is as accepted. 1: something changed. 2: a server could not be asked."""
    from broker.registry.listing_text import listing_lines  # noqa: PLC0415

    status = 0
    async with office() as here, _asking(here) as (known, prober):
        servers = [_server(known, name) for name in names or sorted(known)]
        for server in servers:
            try:
                listing = await prober.probe(server.name)
            except UpstreamError as error:
                print(f"{server.name}: {error.message}")
                status = 2
                continue
            stands = await _stands(here, listing, server)
            print("\n".join(listing_lines(listing, stands)))
            status = status or int(any(stand.standing.drifted for stand in stands))
    return status


def _pin(args: argparse.Namespace) -> int:
    return anyio.run(_take_back if args.drop else _accept, args)


async def _accept(args: argparse.Namespace) -> int:
    from broker.registry.listing_text import offer_lines  # noqa: PLC0415

    async with office() as here, _asking(here) as (known, prober):
        server = _server(known, args.name)
        listing = await prober.probe(server.name)
        stands = [stand for stand in await _stands(here, listing, server) if not args.tools or stand.tool in args.tools]
        if unknown := set(args.tools) - {stand.tool for stand in stands}:
            raise ConfigInvalid(f"{server.name} offers no tool {min(unknown)}")
        wanted = [stand for stand in stands if stand.definition is not None and stand.standing != "pinned"]
        for stand in wanted:
            print("\n".join(offer_lines(stand)))
        if not wanted:
            print("nothing to accept: everything is pinned as it is")
            return 0
        if not _confirmed(f"Accept {len(wanted)} of {server.name}'s tools as shown?", args.yes):
            return 1
        for stand in wanted:
            await _write(here, stand)
    print(f"{len(wanted)} pinned; brokers know it within seconds")
    return 0


async def _write(here: Office, stand: Stand) -> None:
    assert stand.definition is not None
    pin = await _pins(here).accept(stand.definition, here.who, here.store.clock(), instead_of=stand.pin)
    await here.note("tool.pinned", server=pin.server, tool=pin.tool, digest=pin.digest)


async def _take_back(args: argparse.Namespace) -> int:
    async with office() as here:
        pins = _pins(here)
        held: dict[str, Pin] = await pins.of(args.name)
        wanted = args.tools or list(held)
        if unknown := [tool for tool in wanted if tool not in held]:
            raise ConfigInvalid(f"{args.name} has no pinned tool {unknown[0]}")
        if not _confirmed(f"Take back the acceptance of {', '.join(wanted) or 'nothing'}?", args.yes):
            return 1
        for tool in wanted:
            await pins.drop(args.name, tool)
            await here.note("tool.unpinned", server=args.name, tool=tool)
    print(f"{len(wanted)} no longer pinned")
    return 0


def _confirmed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigInvalid("there is nobody to ask: say --yes once you have read it")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _server(known: Mapping[str, Server], name: str) -> Server:
    if name not in known:
        raise ConfigInvalid(f"there is no server `{name}` that gets calls: {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _way(server: Server) -> str:
    return server.url or " ".join(server.command)


def _pins(here: Office) -> Pins:
    from broker.registry.pins import Pins  # noqa: PLC0415

    return Pins(here.store.servers)


async def _stands(here: Office, listing: Listing, server: Server) -> tuple[Stand, ...]:
    from broker.registry.standing import stands  # noqa: PLC0415

    return stands(listing, await _pins(here).of(server.name), server.tools)


@asynccontextmanager
async def _asking(here: Office) -> AsyncIterator[tuple[Mapping[str, Server], Prober]]:
    """The servers that get calls, those of servers.yaml and enrolled ones, and what asks them."""
    from broker.probing import prober  # noqa: PLC0415

    found = (one.server() for one in (await enrolments(here)).values())
    known = {server.name: server for server in found if server is not None} | dict(here.policy.servers)
    connect = here.settings.connect_timeout.total_seconds()
    async with prober(known.get, connect_within=connect, for_enrolled=here.settings.enrol_networks) as asks:
        yield known, asks
