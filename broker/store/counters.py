"""Counters: windows over calls and sums, counted before anyone judges, so that parallel calls see each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from broker.policy.model import CounterUse
from broker.store import keys
from broker.store.connection import Commands
from broker.store.lanes import Argument
from broker.store.scripts import load

RESERVE = load("reserve")
SUMS = load("sums")


class WindowCounters:
    """`Counters` on Redis. What a broker reserved and never settled, since it died, stays counted for its window."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def reserve(self, call_id: str, uses: Sequence[CounterUse]) -> Mapping[str, float]:
        """Return the sum of other calls' amounts by counter name, and add this call's, in one step.

        A counter whose amount can't be told is left out. The same call counts once, however often it is reserved.
        """
        counted = [use for use in uses if use.amount is not None]
        sums = await self._run(call_id, counted, [use.amount or 0.0 for use in counted])
        return {use.name: float(total) for use, total in zip(counted, sums, strict=True)}

    async def commit(self, call_id: str, uses: Sequence[CounterUse]) -> None:
        """The call is sent: its window begins now."""
        await self.reserve(call_id, uses)

    async def give_back(self, call_id: str, uses: Sequence[CounterUse]) -> None:
        """The call was not sent: it no longer counts. Harmless when said twice."""
        await self._run(call_id, uses, [""] * len(uses))

    async def read(self, uses: Sequence[CounterUse]) -> Mapping[str, float]:
        """Return the sums as `reserve` would, and take nothing. A counter whose amount can't be told is left out."""
        counted = [use for use in uses if use.amount is not None]
        if not counted:
            return {}
        names = [key for use in counted for key in (keys.counter(use.key), keys.counter_amounts(use.key))]
        sums: list[bytes] = await self._commands.script(SUMS, names, [use.window // timedelta(microseconds=1) for use in counted])
        return {use.name: float(total) for use, total in zip(counted, sums, strict=True)}

    async def _run(self, call_id: str, uses: Sequence[CounterUse], amounts: Sequence[Argument]) -> list[bytes]:
        if not uses:
            return []
        names = [key for use in uses for key in (keys.counter(use.key), keys.counter_amounts(use.key))]
        arguments: list[Argument] = [call_id]
        for use, amount in zip(uses, amounts, strict=True):
            arguments += (use.window // timedelta(microseconds=1), amount)
        sums: list[bytes] = await self._commands.script(RESERVE, names, arguments)
        return sums
