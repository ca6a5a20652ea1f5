"""`broker doctor`: what is wrong with this installation, and the mend for each finding."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack

_MARKS = {"fine": "ok  ", "warning": "note", "wrong": "BAD "}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("doctor", help="find what is wrong with this installation")
    parser.set_defaults(run=lambda args: asyncio.run(run()))


async def run() -> int:
    """Print every finding. Returns 1 when one of them is wrong."""
    from broker.app import store_of  # noqa: PLC0415 - heavy imports wait until they are needed
    from broker.assets import shipped  # noqa: PLC0415
    from broker.checkup import examined  # noqa: PLC0415
    from broker.diagnosis import Level  # noqa: PLC0415
    from broker.reload import PolicyFolder  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    policies = PolicyFolder(settings.policies or shipped("policies"), environment=settings.environment)
    await policies.load()
    worst = Level.FINE
    async with AsyncExitStack() as closing:
        async for finding in examined(settings, policies, lambda: closing.enter_async_context(store_of(settings))):
            mend = f"\n            {finding.mend}" if finding.mend else ""
            print(f"{_MARKS[finding.level]}  {finding.about}: {finding.told}{mend}")
            worst = Level.WRONG if finding.level is Level.WRONG else worst
    return 1 if worst is Level.WRONG else 0
