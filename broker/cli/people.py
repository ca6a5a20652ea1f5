"""`broker people`: sign-in links, personal tokens, and who there is."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

import anyio

from broker.cli.credentials import Office, aside, clock, names, office, span


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `people link|token|revoke|ls`."""
    group = commands.add_parser("people", help="sign-in links and tokens for people")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    link = verbs.add_parser("link", help="make a link that signs one person in, once, within ten minutes")
    _person(link)
    link.set_defaults(run=lambda args: anyio.run(_link, args))
    token = verbs.add_parser("token", help="make a person's token for the HTTP API and `broker requests`, shown once")
    _person(token)
    token.add_argument(
        "--scopes", type=names, default=("read", "review"), metavar="A,B", help="read, review (the default), authz, servers"
    )
    token.add_argument("--expires", type=span, default=timedelta(days=30), metavar="SPAN", help="30m, 12h, 30d (default 30d)")
    token.set_defaults(run=lambda args: anyio.run(_token, args))
    revoke = verbs.add_parser("revoke", help="revoke a person's tokens and end their sessions")
    revoke.add_argument("name", metavar="PERSON")
    revoke.set_defaults(run=lambda args: anyio.run(_revoke, args))
    show = verbs.add_parser("ls", help="list people with their groups, tokens and sessions")
    show.set_defaults(run=lambda args: anyio.run(_ls, args))


def _person(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PERSON", help="e-mail address, as in people.yaml")
    parser.add_argument("--unlisted", action="store_true", help="the name is right, though people.yaml lacks it")


async def _link(args: argparse.Namespace) -> int:
    from broker.identity.people import SignInLinks  # noqa: PLC0415 - the command line starts fast

    async with office() as here:
        here.need_person(args.name, unlisted=args.unlisted)
        secret = await SignInLinks(here.store.credentials, clock=clock).add(args.name)
        await here.note("person.link_made", person=args.name)
    base = here.settings.public_url.rstrip("/") or f"http://{_host(here)}:{here.settings.port}"
    print(f"{base}/sign-in/{secret}")
    aside(f"It signs in {args.name}, once, within ten minutes. Whoever opens it is taken for them: hand it over safely.")
    return 0


def _host(here: Office) -> str:
    return "127.0.0.1" if here.settings.host in ("0.0.0.0", "::") else here.settings.host


async def _token(args: argparse.Namespace) -> int:
    from broker.identity.people import PersonTokens, Scope  # noqa: PLC0415

    try:
        scopes = tuple(Scope(name) for name in args.scopes)
    except ValueError:
        print(f"scopes are {', '.join(Scope)}")
        return 2
    async with office() as here:
        here.need_person(args.name, unlisted=args.unlisted)
        secret = await PersonTokens(here.store.credentials, clock=clock).add(args.name, scopes=scopes, lasts=args.expires)
        await here.note("person.token_made", person=args.name, scopes=",".join(scopes))
    print(secret)
    aside("This is shown once. `broker requests` reads it from BROKER_TOKEN, and the broker's address from BROKER_URL.")
    return 0


async def _revoke(args: argparse.Namespace) -> int:
    from broker.identity.people import PersonTokens  # noqa: PLC0415
    from broker.identity.sessions import Sessions  # noqa: PLC0415

    async with office() as here:
        tokens = await PersonTokens(here.store.credentials, clock=clock).revoke(args.name)
        sessions = await Sessions(here.store.credentials, clock=clock).end_all(args.name)
        await here.note("person.revoked", person=args.name, tokens=str(tokens), sessions=str(sessions))
    print(f"{tokens} tokens revoked, {sessions} sessions ended")
    return 0 if tokens or sessions else 1


async def _ls(args: argparse.Namespace) -> int:
    from broker.identity.people import PersonTokens  # noqa: PLC0415
    from broker.identity.sessions import Sessions  # noqa: PLC0415

    async with office() as here:
        tokens = await PersonTokens(here.store.credentials, clock=clock).all()
        holders = {token.person for _, token in tokens}
        people = here.policy.people
        everybody = {*people.persons, *holders, *(who for group in people.groups.values() for who in group.members)}
        for person in sorted(everybody):
            sessions = len(await Sessions(here.store.credentials, clock=clock).all(person))
            groups = ", ".join(people.groups_of(person)) or "no group"
            print(f"{person}  {people.person(person).name or '-'}  {groups}  {sessions} sessions")
            for token_id, token in (pair for pair in tokens if pair[1].person == person):
                print(f"    token {token_id}  {', '.join(token.scopes)}  until {token.expires_at:%Y-%m-%d %H:%M} UTC")
    return 0
