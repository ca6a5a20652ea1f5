"""`broker doctor`: what is wrong with this installation, and the mend for each finding."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.diagnosis import Finding

_MARKS = {"fine": "ok  ", "warning": "note", "wrong": "BAD "}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("doctor", help="find what is wrong with this installation")
    parser.set_defaults(run=lambda args: asyncio.run(run()))


async def run() -> int:
    """Print every finding. Returns 1 when one of them is wrong."""
    from broker.diagnosis import Level  # noqa: PLC0415 - heavy imports wait until they are needed

    worst = Level.FINE
    async for finding in _findings():
        mend = f"\n            {finding.mend}" if finding.mend else ""
        print(f"{_MARKS[finding.level]}  {finding.about}: {finding.told}{mend}")
        worst = Level.WRONG if finding.level is Level.WRONG else worst
    return 1 if worst is Level.WRONG else 0


async def _findings() -> AsyncIterator[Finding]:
    """What the broker's own page finds as well, and what servers say to a stranger."""
    from broker.app import store_of  # noqa: PLC0415 - heavy imports wait until they are needed
    from broker.assets import shipped  # noqa: PLC0415
    from broker.checkup import examined  # noqa: PLC0415
    from broker.errors import PolicyInvalid  # noqa: PLC0415
    from broker.reload import PolicyFolder  # noqa: PLC0415
    from broker.routes import route_findings  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    policies = PolicyFolder(settings.policies or shipped("policies"), environment=settings.environment)
    await policies.load()
    async with AsyncExitStack() as closing:
        async for finding in examined(settings, policies, lambda: closing.enter_async_context(store_of(settings))):
            yield finding
    with suppress(PolicyInvalid):
        for finding in await route_findings(policies.current, settings):
            yield finding
