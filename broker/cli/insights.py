"""`broker insights`: what was asked and how people decided, from the audit."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.domain.events import Entry
    from broker.insights.figures import Figures

PAGE = 5_000


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("insights", help="what was asked, how people decided, and how long they took")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=lambda args: asyncio.run(run(args)))


async def run(args: argparse.Namespace) -> int:
    """Raises `StoreUnavailable`, `ConfigInvalid`."""
    import msgspec  # noqa: PLC0415 - heavy imports wait until they are needed

    from broker.insights.figures import figures  # noqa: PLC0415

    found = figures(await _entries())
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() if args.json else "\n".join(told(found)))
    return 0


async def _entries() -> list[Entry]:
    from broker.app import store_of  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    async with store_of(load_settings()) as store:
        entries: list[Entry] = []
        while page := await store.audit.read(entries[-1].number if entries else 0, PAGE):
            entries.extend(page)
        return entries


def told(found: Figures) -> list[str]:
    """Return the figures in lines for people."""
    from broker.domain.text import clipped, visible  # noqa: PLC0415
    from broker.insights.advice import advice  # noqa: PLC0415

    lines = ["day          allowed   denied    asked approved rejected  expired   voided"]
    for day in found.days[-30:]:
        counts = (day.allowed, day.denied, day.asked, day.approved, day.rejected, day.expired, day.voided)
        lines.append(f"{day.day}  " + " ".join(f"{count:>8}" for count in counts))
    lines += ["", "rule                            hits    asked approved rejected  expired"]
    for rule in found.rules:
        name = clipped(visible(rule.rule, keep=""), 28)
        lines.append(f"{name:<28} {rule.hits:>7} {rule.asked:>8} {rule.approved:>8} {rule.rejected:>8} {rule.expired:>8}")
    lines += ["", "group                   decisions   p50 s    p95 s"]
    lines += [f"{wait.group:<23} {wait.decisions:>9} {wait.p50:>7.1f} {wait.p95:>8.1f}" for wait in found.waits]
    return lines + ([""] + [f"- {sentence}" for sentence in advice(found)] if advice(found) else [])
