"""The play: store, toy servers, broker and agent on one machine, and everything is gone at the end."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from broker.approvals.ports import Query
from broker.assets import shipped
from broker.channels.web.timeline import timeline
from broker.demo.agent import run_agent
from broker.demo.attendant import Order, differences
from broker.demo.telling import Telling
from broker.demo.toys import toys
from broker.identity.people import Scope
from broker.running import Running, running
from broker.settings import load_settings

AGENT = "demo-agent"
OWNER, FINANCE, LOGISTICS = "sam@example.com", "fay@example.com", "lee@example.com"
LASTS = timedelta(hours=12)
ENDINGS = {"query": "allowed", "file_delete": "denied", "refund_create": "released", "overwrite": "rejected"}

INTRODUCTION = """
The agent of {owner} is about to make four calls: one is allowed, one is refused, and two wait for people. You are these people.

  1. Fay decides about refunds (finance):          {fay}
  2. Lee decides about the warehouse (logistics):  {lee}

Open the first, sign in, read what would run, approve or reject. Then the second. Below you see what the agent gets.

In a second terminal instead, as Fay:
  export BROKER_URL={url} BROKER_TOKEN={token}
  {program} requests ls
The rules are in {policies}
"""
ENDED = """
All four calls have ended. The page stays open: look at the requests and what became of them.
Ctrl-C ends the demo, and nothing of it stays.
"""


@dataclass(frozen=True)
class Stage:
    """What is set up: the broker, the folder of the toys, and everybody's credentials."""

    broker: Running
    toys: Path
    policies: Path
    agent: str
    fay: str
    lee: str
    token: str


@asynccontextmanager
async def stage(home: Path, port: int) -> AsyncIterator[Stage]:
    """Start everything in `home`. Settings of this machine that would lead elsewhere (a Redis, a public URL) do not count."""
    async with toys(home / "toys") as urls:
        policies = write_policies(home / "policies", urls)
        settings = load_settings(
            host="127.0.0.1",
            port=port,
            data=home / "data",
            policies=policies,
            redis_url=None,
            public_url="",
            environment="demo",
            open_loopback=True,
        )
        async with running(settings) as broker:
            identity = broker.broker.identity
            yield Stage(
                broker=broker,
                toys=home / "toys",
                policies=policies,
                agent=await identity.agents.add(AGENT, owner=OWNER, lasts=LASTS),
                fay=await identity.links.add(FINANCE, lasts=LASTS, many=True),
                lee=await identity.links.add(LOGISTICS, lasts=LASTS, many=True),
                token=await identity.people.add(FINANCE, scopes=(Scope.READ, Scope.REVIEW), lasts=LASTS),
            )


def write_policies(folder: Path, urls: dict[str, str]) -> Path:
    """Copy the demo's policy to `folder`, with the addresses that the toy servers got."""
    folder.mkdir(parents=True)
    for source in (shipped("policies") / "demo").glob("*.yaml"):
        text = source.read_text()
        for port, name in ((9001, "warehouse"), (9002, "payments"), (9003, "files")):
            text = text.replace(f"http://127.0.0.1:{port}/mcp", urls[name])
        (folder / source.name).write_text(text)
    return folder


async def play(*, unattended: bool, port: int, telling: Telling) -> int:
    """Run the demo; returns the exit status: 0, or 1 when something ended in another way than it had to."""
    with tempfile.TemporaryDirectory(prefix="broker-demo-", ignore_cleanup_errors=True) as home:
        async with stage(Path(home), port) as here:
            telling.step("broker", f"ready at {here.broker.url}")
            if unattended:
                return await _unattended(here, telling)
            await _attended(here, telling)
            return 0


async def _attended(here: Stage, telling: Telling) -> None:
    url = here.broker.url
    telling.plain(
        INTRODUCTION.format(
            url=url, owner="Sam", fay=f"{url}/sign-in/{here.fay}", lee=f"{url}/sign-in/{here.lee}", token=here.token,
            program=f"{sys.executable} -m broker", policies=here.policies,
        )
    )  # fmt: skip
    await run_agent(url, here.agent, telling)
    await _tell_trail(here, telling)
    telling.plain(ENDED)
    await asyncio.Event().wait()


async def _unattended(here: Stage, telling: Telling) -> int:
    order = msgspec.json.encode(Order(here.broker.url, here.fay, here.lee, str(here.toys)))
    attendant = await asyncio.create_subprocess_exec(sys.executable, "-m", "broker.demo.attendant", stdin=asyncio.subprocess.PIPE)
    try:
        agent = asyncio.create_task(run_agent(here.broker.url, here.agent, telling))
        await attendant.communicate(order)
        ended = await asyncio.wait_for(agent, 60)
    finally:
        agent.cancel()
        if attendant.returncode is None:
            attendant.kill()
            await attendant.wait()
    await _tell_trail(here, telling)
    wrong = [f"{tool}: {ended.get(tool)}, expected {how}" for tool, how in ENDINGS.items() if ended.get(tool) != how]
    wrong += differences(here.toys)
    for line in wrong:
        telling.step("wrong", line)
    if wrong or attendant.returncode:
        return 1
    telling.step("check", "one call allowed, one refused, one approved and run once, one rejected and never run")
    return 0


async def _tell_trail(here: Stage, telling: Telling) -> None:
    """Print what the audit holds of each request."""
    store, people = here.broker.broker.store, here.broker.broker.policies.current.people
    entries = await store.audit.read(0, 1_000)
    for request in reversed((await store.requests.find(Query())).requests):
        mine = [entry for entry in entries if getattr(entry.event, "request", "") == request.id]
        moments = timeline(mine, lambda person: people.person(person).shown)
        lines = [f"{moment.at:%H:%M:%S}  {moment.what}{f': {moment.said}' if moment.said else ''}" for moment in moments]
        telling.step("broker", "\n".join([f"audit of «{request.plan.title}» ({request.state})", *lines]))


async def until_signal(*, unattended: bool, port: int, telling: Telling) -> int:
    """`play`, ended in order by SIGINT or SIGTERM."""
    task, loop, asked = asyncio.current_task(), asyncio.get_running_loop(), asyncio.Event()
    assert task

    def end() -> None:
        if not asked.is_set():
            asked.set()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        return await play(unattended=unattended, port=port, telling=telling)
    except asyncio.CancelledError:
        telling.plain("\nThe demo has ended.")
        return 130 if unattended else 0
