"""`broker stop`: the switch that ends all calls, or one agent's, on every broker of the store within a second."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.approvals.stops import Stop, Stops
    from broker.store.open import Store

EVERYBODY = "*"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("stop", help="stop all calls and releases, or those of one agent, until lifted")
    parser.add_argument("--agent", type=_name, default=EVERYBODY, help="only this agent, or workload")
    parser.add_argument("--why", default="", help="the reason, which agents and people read")
    parser.add_argument("--lift", action="store_true", help="let calls through again")
    parser.add_argument("--ls", action="store_true", help="list the stops in force; exit status 1 if there are any")
    parser.set_defaults(run=lambda args: asyncio.run(run(args)))


def _name(text: str) -> str:
    """A variable of the shell that was empty stops nobody, and has to say so."""
    if not text.strip():
        raise argparse.ArgumentTypeError("name the agent that is meant; without --agent it is all of them")
    return text.strip()


async def run(args: argparse.Namespace) -> int:
    """Raises `StoreUnavailable`, `ConfigInvalid`."""
    from broker.app import store_of  # noqa: PLC0415 - heavy imports wait until they are needed
    from broker.approvals.stops import Stops  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    async with store_of(load_settings()) as store:
        stops, who = Stops(store.stops), f"{getpass.getuser()}, at the command line"
        if args.ls:
            return _list(await stops.all())
        return await (_lift(store, stops, args.agent, who) if args.lift else _stop(store, stops, args.agent, who, args.why))


async def _stop(store: Store, stops: Stops, agent: str, who: str, why: str) -> int:
    from broker.approvals.stops import Stop, stopped  # noqa: PLC0415 - as above
    from broker.identity.agents import AgentTokens  # noqa: PLC0415

    made = Stop(agent, who, why, datetime.now(UTC))
    await stops.stop(made)
    await store.audit.append(stopped(made))
    print(f"calls of {_named(agent)} are stopped on every broker; lift it with: {_lifting(agent)}")
    if agent != EVERYBODY and not await AgentTokens(store.credentials, clock=store.clock).all(agent):
        told = f"note: no token is named {agent}; is that the name of an issuer's client, or of a workload?"
        print(f"{told} See: broker agents ls", file=sys.stderr)
    return 0


async def _lift(store: Store, stops: Stops, agent: str, who: str) -> int:
    from broker.approvals.stops import lifted  # noqa: PLC0415 - as above

    if not await stops.lift(agent):
        print("there was no such stop")
        return 1
    await store.audit.append(lifted(agent, who, datetime.now(UTC)))
    print(f"the stop of {_named(agent)} is lifted")
    for stop in await stops.all():
        print(f"still in force: the stop of {_named(stop.agent)}; lift it with: {_lifting(stop.agent)}")
    return 0


def _list(stops: list[Stop]) -> int:
    from broker.domain.text import visible  # noqa: PLC0415 - heavy imports wait until they are needed

    for stop in stops:
        print(visible(f"{_named(stop.agent)}: since {stop.at:%Y-%m-%d %H:%M} by {stop.by}. {stop.why}", keep=""))
    return 1 if stops else 0


def _named(agent: str) -> str:
    return "all agents" if agent == EVERYBODY else agent


def _lifting(agent: str) -> str:
    return "broker stop --lift" + ("" if agent == EVERYBODY else f" --agent {shlex.quote(agent)}")
