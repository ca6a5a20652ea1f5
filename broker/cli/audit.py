"""`broker audit tail|verify|export`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.domain.events import Entry
    from broker.settings import Settings

PAGE = 1_000
# Retention may be this much early where clocks were set; and no date lies further back than dates go.
SLACK, LONG = timedelta(hours=1), timedelta(days=365_000)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = commands.add_parser("audit", help="what happened, and the proof of it").add_subparsers(required=True, metavar="VERB")
    tail = verbs.add_parser("tail", help="print the newest events")
    tail.add_argument("-n", type=int, default=20, help="how many (20)")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with what happens next")
    tail.set_defaults(run=run_tail)
    verify = verbs.add_parser("verify", help="recompute the chain, check the seals, hold the store against them")
    verify.add_argument("--segments", type=Path, help="folder of segment files (the broker's own)")
    verify.add_argument("--keys", type=Path, help="public keys as JWKS (the broker's own key)")
    verify.add_argument("--files-only", action="store_true", help="do not compare with the live store")
    verify.set_defaults(run=run_verify)
    export = verbs.add_parser("export", help="write sealed events in another format to standard output")
    export.add_argument("--format", choices=("jsonl", "cef", "otel"), default="jsonl")
    export.add_argument("--segments", type=Path, help="folder of segment files (the broker's own)")
    export.add_argument("--after", type=int, default=0, help="only events with higher numbers")
    export.set_defaults(run=run_export)


def run_tail(args: argparse.Namespace) -> int:
    asyncio.run(_tail(_settings(), args.n, follow=args.follow))
    return 0


async def _tail(settings: Settings, count: int, *, follow: bool) -> None:
    from broker.app import store_of  # noqa: PLC0415 - heavy imports wait until they are needed

    async with store_of(settings) as store:
        seen = max(0, await store.audit.last() - count)
        while True:
            entries = await store.audit.read(seen, PAGE)
            for entry in entries:
                print(told(entry), flush=True)
                seen = entry.number
            if not entries:
                if not follow:
                    return
                await asyncio.sleep(0.3)


def run_verify(args: argparse.Namespace) -> int:
    """Return 0 when everything holds, 1 at the first fault, 2 when there is nothing to verify."""
    return asyncio.run(_verify(args, _settings()))


async def _verify(args: argparse.Namespace, settings: Settings) -> int:
    from broker.audit.keys import PublicKeys, published, read_public  # noqa: PLC0415 - as above
    from broker.audit.verify import verify_files, verify_live  # noqa: PLC0415

    folder = args.segments or settings.data.expanduser() / "audit"
    keys = read_public(args.keys) if args.keys else PublicKeys(published(settings.key_file))
    if args.files_only:
        verified = verify_files(folder, keys)
    else:
        from broker.app import store_of  # noqa: PLC0415

        async with store_of(settings) as store:
            kept = store.clock() - min(settings.keep_events, LONG) + SLACK
            verified = await verify_live(folder, keys, store.audit, store.seals, kept=kept)
    fault = verified.fault
    if fault is not None:
        print(f"event {fault.number}: {fault.what} ({fault.where})", file=sys.stderr)
        return 1
    print(f"{verified.last} events in {verified.seals} seals hold; head {verified.head}")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Return 0, 1 when events between the first and the last can't be had: all others are written."""
    from broker.audit.export import FORMATS  # noqa: PLC0415 - as above

    form, after, status = FORMATS[args.format], args.after, 0
    for entry in _sealed(args.segments or _settings().data.expanduser() / "audit", args.after):
        if after and entry.number != after + 1:
            told = f"events {after + 1} to {entry.number - 1} are not here, or can't be read; `broker audit verify` says more"
            print(told, file=sys.stderr)
            status = 1
        print(form(entry))
        after = entry.number
    return status


def _sealed(folder: Path, after: int) -> Iterator[Entry]:
    """Yield what can be read of a folder of segments."""
    import msgspec  # noqa: PLC0415 - as above

    from broker.audit.verify import sealed_entries  # noqa: PLC0415
    from broker.domain.events import Entry, decode_event  # noqa: PLC0415

    for number, raw in sealed_entries(folder, after):
        with suppress(msgspec.MsgspecError):  # the numbers tell that it is missing
            yield Entry(number, decode_event(raw))


def told(entry: Entry) -> str:
    """Return one event as a line for people."""
    from broker.audit.export import facts  # noqa: PLC0415 - as above
    from broker.domain.text import visible  # noqa: PLC0415

    fields = facts(entry)
    number, kind, at = fields.pop("number"), fields.pop("type"), str(fields.pop("at"))[:19]
    caller = fields.pop("caller", None)
    if caller:
        fields = {"agent": caller.get("agent", ""), **fields}
    skipped = {"broker", "trace", "digest", "definition", "policy", "view", "evidence", "version", "result"}
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in skipped and value not in ("", [], None))
    return visible(f"{number:>6}  {at}  {kind:<18} {rest}", keep="")


def _settings() -> Settings:
    from broker.settings import load_settings  # noqa: PLC0415 - as above

    return load_settings()
