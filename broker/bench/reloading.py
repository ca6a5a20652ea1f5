"""How long a reload of the policy keeps everybody waiting: the longest time in which the event loop did nothing else.

echo 1000 | python -m broker.bench.reloading > stall.json
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec
import uvloop

from broker.bench.rules import write_policy
from broker.logs import configure
from broker.reload import PolicyFolder

RELOADS = 5
TICK = 0.0005


async def run(count: int) -> float:
    """Change every condition of `count` rules, and reload them: the longest stall in ms, the median of some reloads."""
    with TemporaryDirectory(prefix="broker-bench-") as folder:
        rules = write_policy(Path(folder) / "policies", "http://127.0.0.1:1/mcp", count) / "rules.yaml"
        policies, text = PolicyFolder(rules.parent), rules.read_text()
        await policies.load()
        stalls = []
        for number in range(1, RELOADS + 1):
            rules.write_text(text.replace("args.amount > ", f"args.amount > {number}"))
            stalls.append(await _longest_stall(policies))
        return median(stalls) * 1e3


async def _longest_stall(policies: PolicyFolder) -> float:
    loading = asyncio.create_task(policies.load())
    longest, last = 0.0, perf_counter()
    while not loading.done():
        await asyncio.sleep(TICK)
        now = perf_counter()
        longest, last = max(longest, now - last - TICK), now
    await loading
    return longest


if __name__ == "__main__":
    configure("error")
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(int(sys.stdin.read())))))
