"""`broker requests`: see what waits, approve, reject, watch. Over the HTTP API, with a person's own token.

The environment names both: BROKER_URL (http://127.0.0.1:8450 if unset) and BROKER_TOKEN.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from broker.errors import AlreadyResolved

if TYPE_CHECKING:
    from broker.channels.terminal.client import Api

DEFAULT_URL = "http://127.0.0.1:8450"


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `requests ls|show|approve|reject|watch`."""
    group = commands.add_parser("requests", help="requests that wait for people, with your token (BROKER_URL, BROKER_TOKEN)")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    show_all = verbs.add_parser("ls", help="list requests")
    show_all.add_argument(
        "--view", choices=("mine", "asked", "all"), default="mine", help="whose (default: those you may review)"
    )
    show_all.add_argument("--state", default="pending", help="pending, approved, rejected …; `any` for all (default pending)")
    show_all.set_defaults(run=_with(_ls))
    show = verbs.add_parser("show", help="show one request whole")
    show.add_argument("id", metavar="ID")
    show.set_defaults(run=_with(_show))
    for verdict in ("approve", "reject"):
        give = verbs.add_parser(verdict, help=f"{verdict} requests of one agent; exit status 1 when one was not counted")
        give.add_argument("ids", metavar="ID", nargs="+")
        give.add_argument("--reason", default="", required=verdict == "reject", help="told to the agent")
        give.add_argument("--yes", action="store_true", help="do not ask again")
        give.set_defaults(run=_with(_give), verdict=verdict)
    watch = verbs.add_parser("watch", help="print changes as they happen")
    watch.set_defaults(run=_with(_watch))


def _with(verb: Callable[[Api, argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        from broker.channels.terminal.client import Api  # noqa: PLC0415 - the command line starts fast

        with Api(os.environ.get("BROKER_URL") or DEFAULT_URL, os.environ.get("BROKER_TOKEN", "")) as api:
            return verb(api, args)

    return run


def _ls(api: Api, args: argparse.Namespace) -> int:
    from broker.channels.terminal.render import table  # noqa: PLC0415

    print(table(api.list(view=args.view, state="" if args.state == "any" else args.state), datetime.now(UTC)))
    return 0


def _show(api: Api, args: argparse.Namespace) -> int:
    from broker.channels.terminal.render import whole  # noqa: PLC0415

    print(whole(api.show(args.id), datetime.now(UTC)))
    return 0


def _give(api: Api, args: argparse.Namespace) -> int:
    """Show what the answer is about, ask, and send it bound to what was shown."""
    from broker.channels.terminal.render import whole  # noqa: PLC0415

    shown = [api.show(request_id) for request_id in args.ids]
    print("\n\n".join(whole(found, datetime.now(UTC)) for found in shown))
    if not args.yes and not _sure(args.verdict):
        asked = sys.stdin.isatty()
        print(
            "nothing was sent" + ("" if asked else ": there is nobody to ask, say --yes once you have read it"), file=sys.stderr
        )
        return 2
    return _one(api, args, shown[0]["request"]) if len(shown) == 1 else _many(api, args, [found["request"] for found in shown])


def _one(api: Api, args: argparse.Namespace, shown: dict[str, Any]) -> int:
    try:
        after = api.review(shown["id"], args.verdict, digest=shown["digest"], reason=args.reason)
    except AlreadyResolved as error:
        print(f"broker: {error.message}", file=sys.stderr)
        return 1
    print(f"\n{_outcome(after)}")
    return 0


def _many(api: Api, args: argparse.Namespace, shown: list[dict[str, Any]]) -> int:
    items = [{"request": one["id"], "digest": one["digest"], "version": one["version"], "verdict": args.verdict} for one in shown]
    answers = api.review_together(items, args.reason)["items"]
    for one in answers:
        print(f"{one['request']}  {one['state'] if one['counted'] else 'not counted: ' + one['detail']}")
    return 0 if all(one["counted"] for one in answers) else 1


def _sure(verdict: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"\n{verdict} exactly this? Type {verdict}: ").strip() == verdict


def _outcome(after: dict[str, Any]) -> str:
    if after["request"]["state"] == "pending":
        missing = ", ".join(
            f"{one['need'] - one['have']} of {one['group']}" for one in after["progress"] if one["have"] < one["need"]
        )
        return f"counted: it still needs {missing}"
    return f"{after['request']['state']}: your answer was counted"


def _watch(api: Api, args: argparse.Namespace) -> int:
    from broker.channels.terminal.render import change  # noqa: PLC0415

    for moved in api.watch():
        print(change(moved), flush=True)
    return 0
