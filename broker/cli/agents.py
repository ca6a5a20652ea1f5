"""`broker agents`: tokens for agents. Each is shown once; the store keeps only its hash."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

import anyio

from broker.cli.credentials import aside, clock, names, office, span
from broker.errors import ConfigInvalid


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `agents add|ls|revoke`."""
    group = commands.add_parser("agents", help="tokens for agents: make, list, revoke")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    make = verbs.add_parser("add", help="make a token for an agent, shown once")
    make.add_argument("name", metavar="NAME")
    make.add_argument("--owner", required=True, metavar="PERSON", help="whose agent it is: they can't approve its calls")
    make.add_argument("--servers", type=names, metavar="A,B", help="the servers it may use (all, if not given)")
    make.add_argument("--user", default="", metavar="PERSON", help="the person for whom it always acts")
    make.add_argument("--groups", type=names, default=(), metavar="A,B", help="the groups that policies see for it")
    make.add_argument("--surface", default="", metavar="NAME", help="the chat, IDE or bot that it is part of")
    make.add_argument(
        "--hold", type=span, default=timedelta(), metavar="SPAN", help="how long its calls are held (as its client waits)"
    )
    make.add_argument("--expires", type=span, default=timedelta(days=90), metavar="SPAN", help="30m, 12h, 90d (default 90d)")
    make.add_argument("--unlisted", action="store_true", help="the persons are right, though people.yaml lacks them")
    make.set_defaults(run=_add)
    show = verbs.add_parser("ls", help="list tokens: whose, for what, until when")
    show.add_argument("name", nargs="?", default="", metavar="NAME")
    show.set_defaults(run=_ls)
    revoke = verbs.add_parser("revoke", help="revoke an agent's tokens, within a second everywhere; open streams end within five")
    revoke.add_argument("name", metavar="NAME")
    revoke.add_argument("--id", default="", metavar="ID", help="only this one, as `ls` names it")
    revoke.set_defaults(run=_revoke)


def _add(args: argparse.Namespace) -> int:
    return anyio.run(_make, args)


async def _make(args: argparse.Namespace) -> int:
    from broker.identity.agents import AgentTokens  # noqa: PLC0415 - the command line starts fast

    async with office() as here:
        for person in filter(None, (args.owner, args.user)):
            here.need_person(person, unlisted=args.unlisted)
        if unknown := [name for name in args.servers or () if name not in here.policy.servers]:
            raise ConfigInvalid(
                f"servers.yaml has no `{unknown[0]}`: it knows {', '.join(sorted(here.policy.servers)) or 'none'}"
            )
        tokens = AgentTokens(here.store.credentials, clock=clock)
        secret = await tokens.add(
            args.name, owner=args.owner, lasts=args.expires, servers=args.servers, user=args.user, groups=args.groups,
            surface=args.surface, hold=args.hold,
        )  # fmt: skip
        told = {"servers": ",".join(args.servers or ("*",)), **({"surface": args.surface} if args.surface else {})}
        await here.note("agent.token_made", agent=args.name, owner=args.owner, **told)
    print(secret)
    aside("This is shown once. The agent sends it as `Authorization: Bearer …`.")
    return 0


def _ls(args: argparse.Namespace) -> int:
    return anyio.run(_list, args)


async def _list(args: argparse.Namespace) -> int:
    from broker.identity.agents import AgentTokens  # noqa: PLC0415

    async with office() as here:
        found = await AgentTokens(here.store.credentials, clock=clock).all(args.name)
    for token_id, token in found:
        servers = ", ".join(token.servers) if token.servers is not None else "every server"
        via = f"  through {token.surface}" if token.surface else ""
        via += f"  held {token.hold:.0f} s" if token.hold else ""
        print(f"{token_id}  {token.agent}  owner {token.owner}{via}  {servers}  until {token.expires_at:%Y-%m-%d %H:%M} UTC")
    if not found:
        print("no tokens: `broker agents add NAME --owner PERSON` makes one")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    return anyio.run(_take_back, args)


async def _take_back(args: argparse.Namespace) -> int:
    from broker.identity.agents import AgentTokens  # noqa: PLC0415

    async with office() as here:
        gone = await AgentTokens(here.store.credentials, clock=clock).revoke(args.name, args.id)
        if gone:
            await here.note("agent.token_revoked", agent=args.name, tokens=str(gone))
    print(f"{gone} revoked" if gone else f"`{args.name}` has no such token")
    return 0 if gone else 1
