"""`broker servers enrol|submit|review|suspend|resume|retire|lint`: the registry, by the API with a person's own token."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from broker.cli.credentials import Office, office
from broker.errors import ConfigInvalid, EnrolmentRefused

if TYPE_CHECKING:
    from broker.channels.terminal.registry import RegistryApi
    from broker.domain.enrolment import Enrolment
    from broker.registry.lint import Finding

DEFAULT_URL = "http://127.0.0.1:8450"
STATES = {"approve": "approved", "reject": "rejected", "not-applicable": "n/a"}


def add_verbs(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the registry's verbs to `broker servers`."""
    enrol = verbs.add_parser("enrol", help="enrol a server, or publish a version of one, from its server.json (BROKER_TOKEN)")
    enrol.add_argument("file", type=Path, metavar="SERVER_JSON")
    enrol.add_argument("--submit", action="store_true", help="ask for its reviews at once")
    enrol.set_defaults(run=_with(_enrol))
    submit = verbs.add_parser("submit", help="ask for the reviews of an enrolled server's last version")
    submit.add_argument("name", metavar="NAME", help="the official name, e.g. com.example/payments")
    submit.set_defaults(run=_with(_submit))
    review = verbs.add_parser("review", help="show what waits for reviews, and answer for one slot")
    review.add_argument("name", metavar="NAME")
    review.add_argument("--slot", choices=("security", "legal_privacy", "genai"), help="the slot to answer for")
    review.add_argument("--verdict", choices=tuple(STATES), help="without it nothing is answered")
    review.add_argument("--reason", default="", help="needed to reject, and for what is not applicable")
    review.add_argument("--ticket", default="", metavar="URL", help="where it is worked on")
    review.add_argument("--yes", action="store_true", help="do not ask again")
    review.set_defaults(run=_with(_review))
    for move, what in (("suspend", "let no more calls through"), ("resume", "let calls through again"), ("retire", "end it")):
        verb = verbs.add_parser(move, help=f"{what}: an enrolled server")
        verb.add_argument("name", metavar="NAME")
        verb.add_argument("--why", required=True, help="kept with the server and in the audit")
        verb.set_defaults(run=_with(_move), move=move)
    lint = verbs.add_parser("lint", help="check servers, or a server.json, by the security standard")
    lint.add_argument("names", nargs="*", metavar="NAME", help="servers or server.json files; all servers if none is given")
    lint.set_defaults(run=_lint)


def _with(verb: Callable[[RegistryApi, argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        from broker.channels.terminal.registry import RegistryApi  # noqa: PLC0415 - the command line starts fast

        with RegistryApi(os.environ.get("BROKER_URL") or DEFAULT_URL, os.environ.get("BROKER_TOKEN", "")) as api:
            return verb(api, args)

    return run


def _enrol(api: RegistryApi, args: argparse.Namespace) -> int:
    document = _read(args.file)
    name = api.publish(document)["server"]["name"]
    if args.submit:
        api.move(name, "submit")
    return _show(api.show(name))


def _submit(api: RegistryApi, args: argparse.Namespace) -> int:
    return _show(api.move(args.name, "submit"))


def _move(api: RegistryApi, args: argparse.Namespace) -> int:
    return _show(api.move(args.name, args.move, why=args.why))


def _review(api: RegistryApi, args: argparse.Namespace) -> int:
    """Show what the answer is about and whose access it would widen, ask, and send it bound to what was shown."""
    found = api.show(args.name)
    _show(found)
    if args.verdict is None or not found["shown"]:
        return 0
    if args.slot is None:
        raise ConfigInvalid("say for which --slot you answer")
    if not args.yes and not _sure(args.verdict):
        print("nothing was sent", file=sys.stderr)
        return 2
    after = api.move(
        args.name, "reviews", slot=args.slot, state=STATES[args.verdict], digest=found["shown"]["digest"], reason=args.reason,
        ticket=args.ticket,
    )  # fmt: skip
    print()
    return _show(after)


def _sure(verdict: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"\n{verdict} exactly this? Type {verdict}: ").strip() == verdict


def _show(told: dict[str, Any]) -> int:
    from broker.channels.terminal.registry import whole  # noqa: PLC0415

    print(whole(told))
    return 0


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{file} can't be read: {error}") from None


def _lint(args: argparse.Namespace) -> int:
    """0: nothing is missing. 1: something is."""
    files = [name for name in args.names if name.endswith(".json")]
    found = [problem for file in files for problem in _of_file(Path(file))]
    names = [name for name in args.names if name not in files]
    if names or not files:
        found += map(str, anyio.run(_of_servers, names))
    print("\n".join(found) or "nothing is missing")
    return 1 if found else 0


def _of_file(file: Path) -> Iterator[str]:
    from broker.registry.lint import document, lint  # noqa: PLC0415
    from broker.registry.server_json import problems  # noqa: PLC0415

    content = _read(file)
    wrong = problems(content)
    yield from (f"{file}: {problem}" for problem in wrong)
    if not wrong:
        try:
            yield from (f"{file}: {finding}" for finding in lint(document(content)))
        except EnrolmentRefused as error:
            yield f"{file}: {error.message}"


async def _of_servers(names: list[str]) -> list[Finding]:
    from broker.registry.lint import declared, enrolled, lint  # noqa: PLC0415

    async with office() as here:
        pinned = await pinned_tools(here)
        subjects = {name: declared(server, pinned.get(name, ())) for name, server in here.policy.servers.items()}
        subjects |= {one.local: enrolled(one, pinned.get(one.local, ())) for one in (await enrolments(here)).values()}
    if unknown := [name for name in names if name not in subjects]:
        raise ConfigInvalid(f"there is no server `{unknown[0]}`: {', '.join(sorted(subjects)) or 'none'}")
    return [finding for name in names or sorted(subjects) for finding in lint(subjects[name])]


async def enrolments(here: Office) -> dict[str, Enrolment]:
    """Every enrolled server, by official name."""
    from broker.registry.roster import decoded  # noqa: PLC0415

    return {name: found for name, found in decoded(await here.store.enrolled.read()).items() if found is not None}


async def pinned_tools(here: Office) -> dict[str, list[str]]:
    """The accepted tools of each server."""
    from broker.registry.pins import Pins  # noqa: PLC0415

    found: dict[str, list[str]] = {}
    for server, tool in await Pins(here.store.servers).digests():
        found.setdefault(server, []).append(tool)
    return found
