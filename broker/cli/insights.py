"""`broker insights`: what was asked and how people decided, from the audit; with `--month` the use of a month."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.domain.events import Entry
    from broker.insights.figures import Figures
    from broker.insights.usage import Usage

PAGE = 5_000


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("insights", help="what was asked, how people decided, and how long they took")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--month", default="", help="the use of a month instead, e.g. 2026-11: calls, people, time saved")
    parser.set_defaults(run=lambda args: asyncio.run(run(args)))


async def run(args: argparse.Namespace) -> int:
    """Raises `StoreUnavailable`, `ConfigInvalid`, `Malformed`."""
    if args.month:
        return await _month(args)
    import msgspec  # noqa: PLC0415 - heavy imports wait until they are needed

    from broker.insights.figures import figures  # noqa: PLC0415

    found = figures(await _entries())
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() if args.json else "\n".join(told(found)))
    return 0


async def _month(args: argparse.Namespace) -> int:
    """Tell what page and API tell of a month."""
    import msgspec  # noqa: PLC0415

    from broker.app import now, store_of  # noqa: PLC0415
    from broker.channels.web.api_shapes import used  # noqa: PLC0415
    from broker.channels.web.insights_page import checked  # noqa: PLC0415
    from broker.insights.usage import month_of  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    month = month_of(checked(args.month, now().date()))
    async with store_of(load_settings()) as store:
        use = await store.usage.month(month)
    print(msgspec.json.format(msgspec.json.encode(used(use)), indent=2).decode() if args.json else "\n".join(told_use(use)))
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


def told_use(use: Usage) -> list[str]:
    """Return the use of a month in lines for people."""
    from broker.domain.text import clipped, visible  # noqa: PLC0415

    saved = f"about {use.hours:,} hours saved, by what the tools' owners say: a direction, no measurement"
    calls, people = "call" if use.calls == 1 else "calls", "person" if use.people == 1 else "people"
    lines = [f"{use.month}: {use.calls:,} {calls}, {use.failed:,} failed; {use.people:,} {people}; {saved}"]
    lines += ["", "server                          calls   failed   people    tools   hours"]
    for one in use.servers:
        name = clipped(visible(one.server, keep=""), 26)
        lines.append(f"{name:<26} {one.calls:>10,} {one.failed:>8,} {one.people:>8,} {one.tools:>8} {one.minutes / 60:>7,.0f}")
    if use.estimates:
        lines += ["", "what a call saves, in minutes         owner   people  answers"]
    for tool in use.estimates:
        name = clipped(visible(f"{tool.server} {tool.tool}", keep=""), 34)
        people = "-" if tool.people_minutes is None else str(tool.people_minutes)
        lines.append(f"{name:<34} {tool.owner_minutes:>8.3g} {people:>8} {tool.answers:>8}")
    return lines
