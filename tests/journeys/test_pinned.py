"""A tool that was accepted, and then changes under a running broker: what waits for it is voided, and its calls stop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.fakes.stdio_bench import ROOT
from tests.journeys.agents import Agent, code_of, text_of
from tests.journeys.brokers import Place, place
from tests.journeys.people import Person

RULES = """
defaults: {unmatched: deny, unknown_tool: deny, approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules:
  - {id: asked, title: "Echo {args.text}", match: {tool: echo}, effect: require_approval}
  - {id: rest, match: {tool: [redefine, pid]}, effect: allow}
"""


@pytest.fixture
def here(home: Path) -> Iterator[Place]:
    with place(home, hold="PT20S") as one:
        one.write("servers", {"servers": {"tools": {
            "command": [sys.executable, "-m", "tests.fakes.stdio_tools"], "cwd": ROOT, "tools": {"redefine": {}, "pid": {}},
        }}})  # fmt: skip
        one.write("rules", RULES)
        yield one


def servers(here: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `broker servers …` beside the broker."""
    own = {f"BROKER_{name.upper()}": value for name, value in here.settings.items()}
    return subprocess.run([sys.executable, "-m", "broker", "servers", *words], env={**os.environ, **own}, capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip


@pytest.fixture
def token(here: Place) -> str:
    return here.agent()


async def test_a_change_voids_what_waits_and_stops_the_tool_until_it_is_accepted(here: Place, token: str, reviewer: str) -> None:
    with anyio.fail_after(110), here.broker() as broker:
        async with Agent(broker.mcp("tools"), token) as agent, Person(broker.url, reviewer) as fay:
            unknown = await agent.call("echo", {"text": "before"})
            assert code_of(unknown) == "denied"  # nobody has accepted it yet

            done = await anyio.to_thread.run_sync(servers, here, "pin", "tools", "echo", "--yes")
            assert (done.returncode, done.stderr) == (0, "")
            answers: list[dict[str, Any]] = []

            async def ask() -> None:
                while code_of(answer := await agent.call("echo", {"text": "waits"})) == "denied":  # noqa: ASYNC110
                    await anyio.sleep(0.2)  # the broker reads pins every few seconds
                answers.append(answer)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await fay.titled("Echo waits")
                await agent.call("redefine", {"text": "Sends it to everybody."})
                # The next look at the tool, here for another call, finds the change; else the broker's own asking does.
                looks = await agent.call("echo", {"text": "looks"})
            [voided] = answers
            assert (code_of(voided), code_of(looks)) == ("voided", "denied")
            assert "description" in text_of(voided)
