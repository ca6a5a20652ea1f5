"""`broker stop`: the switch that ends all calls, or one agent's, on every broker of the store within a second."""

from __future__ import annotations

import argparse
import asyncio
import getpass
from datetime import UTC, datetime


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("stop", help="stop all calls and releases, or those of one agent, until lifted")
    parser.add_argument("--agent", default="*", help="only this agent")
    parser.add_argument("--why", default="", help="the reason, which agents and people read")
    parser.add_argument("--lift", action="store_true", help="let calls through again")
    parser.add_argument("--ls", action="store_true", help="list the stops in force; exit status 1 if there are any")
    parser.set_defaults(run=lambda args: asyncio.run(run(args)))


async def run(args: argparse.Namespace) -> int:
    """Raises `StoreUnavailable`, `ConfigInvalid`."""
    from broker.app import store_of  # noqa: PLC0415 - heavy imports wait until they are needed
    from broker.approvals.stops import Stop, Stops  # noqa: PLC0415
    from broker.domain.events import Noted  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    async with store_of(load_settings()) as store:
        stops, who = Stops(store.stops), f"{getpass.getuser()}, at the command line"
        if args.ls:
            return _list(await stops.all())
        at = datetime.now(UTC)
        if args.lift:
            lifted = await stops.lift(args.agent)
            await store.audit.append(Noted(at=at, what="stop.lifted", who=who, fields={"agent": args.agent}))
            print(f"calls of {_named(args.agent)} pass again" if lifted else "there was no such stop")
            return 0 if lifted else 1
        await stops.stop(Stop(args.agent, who, args.why, at))
        await store.audit.append(Noted(at=at, what="stop.set", who=who, fields={"agent": args.agent, "why": args.why}))
        print(f"calls of {_named(args.agent)} are stopped on every broker; lift it with: broker stop --lift")
    return 0


def _list(stops: list) -> int:  # type: ignore[type-arg]  # Stop is imported late
    for stop in stops:
        print(f"{_named(stop.agent)}: since {stop.at:%Y-%m-%d %H:%M} by {stop.by}. {stop.why}")
    return 1 if stops else 0


def _named(agent: str) -> str:
    return "all agents" if agent == "*" else agent
