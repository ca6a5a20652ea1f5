"""The README's Slack section, walked: its commands before an empty workspace of the emulator, up to the first approval."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import httpx2
import pytest

from broker.channels.slack.manifest import SCOPES
from broker.cli.main import main
from broker.demo.payments import refunds
from tests.channels.slack.bench import SCOPES as INSTALLED
from tests.channels.slack.bench import text
from tests.fakes.slack_front import TEAM, SlackFront
from tests.journeys.agents import Agent
from tests.journeys.test_readme import README, answers, blocks, free_port, started, wait_for

SECTION = README.partition("## Slack\n")[2].partition("\n## ")[0]


class Shell:
    """Types the README's commands. `broker serve` goes on beside the others."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._given = {"xoxb-…": "xoxb-test", "xapp-…": "xapp-test", "https://approvals.example.com": url}
        self._capsys = capsys
        self._environment = monkeypatch

    def export(self, line: str) -> None:
        for name, value in (word.split("=", 1) for word in shlex.split(line)[1:]):
            self._environment.setenv(name, self._given.get(value, value))

    async def say(self, *words: str) -> str:
        """Type a command of ours; returns what it printed."""
        assert await anyio.to_thread.run_sync(main, words) == 0, self._capsys.readouterr()
        return self._capsys.readouterr().out

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        with started("-m", "broker", "serve", "--port", str(port), at=self.folder):
            await anyio.to_thread.run_sync(wait_for, partial(answers, port), "the broker")
            yield


@pytest.fixture
async def toy(tmp_path: Path) -> AsyncIterator[None]:
    """The toy server and the files of the README's first five minutes."""
    port = free_port()
    for block in blocks("yaml"):
        path = tmp_path / block.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.replace("127.0.0.1:9001", f"127.0.0.1:{port}"))
    with started("-m", "broker.demo.toys", "payments", "--port", str(port), at=tmp_path):
        await anyio.to_thread.run_sync(wait_for, partial(answers, port), "the toy server")
        yield


async def test_from_an_empty_workspace_to_the_first_approval(
    toy: None, front: SlackFront, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BROKER_")]:
        monkeypatch.delenv(name)
    for name, value in {"POLICIES": "rules", "DATA": "data", "SLACK_URL": front.url, "SLACK_ANSWERS": front.answers}.items():
        monkeypatch.setenv(f"BROKER_{name}", value)
    shell, walked = Shell(tmp_path, url, capsys, monkeypatch), []
    async with AsyncExitStack() as closing:
        for line in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)[0].splitlines():
            walked.append(line)
            if line.startswith("export "):
                shell.export(line)
            elif line == "broker serve":
                await closing.enter_async_context(shell.serving(port))
            else:
                said = await shell.say(*shlex.split(line)[1:])
                if line == "broker slack manifest":
                    assert set(json.loads(said)["oauth_config"]["scopes"]["bot"]) == set(SCOPES) == set(INSTALLED)
                else:
                    assert "ok    #approvals: the app may post" in said
        assert len(walked) == 5
        await fay_decides(shell, front, url)


async def fay_decides(shell: Shell, front: SlackFront, url: str) -> None:
    """She connects her account, and presses on the card of a refund."""
    fay = await front.user("fay")
    token = (await shell.say("agents", "add", "my-agent", "--owner", "sam@example.com", "--servers", "payments")).split()[0]
    code = (await shell.say("people", "link", "fay@example.com")).split()[0]
    with anyio.fail_after(30):
        await front.until(lambda: front.sockets)
        await front.envelope("slash_commands", {"team_id": TEAM, "user_id": fay, "text": "link", "response_url": answer(front)})
        await front.until(lambda: front.answers_said)
        page = re.search(r"http://\S+/slack/link/\S+", front.answers_said.pop()["text"])
        assert page is not None
        async with httpx2.AsyncClient(base_url=url, follow_redirects=True) as browser:
            (await browser.post("/sign-in", data={"code": code})).raise_for_status()
            csrf = re.findall(r'name="csrf" value="([^"]+)"', (await browser.get(page[0])).text)
            assert "Done" in (await browser.post(page[0], data={"csrf": csrf[0]})).text
        async with Agent(f"{url}/mcp/payments", token) as agent:
            refund = {"customer": "acme", "amount": 900, "currency": "EUR", "reason": "broken lamps"}
            call = asyncio.create_task(agent.call("refund_create", refund))
            while not (cards := await front.messages("approvals")):
                await front.next_call()
            assert "Refund 900 EUR to acme" in text(cards[0])
            await front.envelope("interactive", await front.click("approvals", cards[0]["ts"], "approve", fay))
            assert (await call)["_meta"]["approval-broker/code"] == "released"
    assert [row["amount"] for row in refunds(shell.folder / "toys/ledger.db")] == [900.0]


def answer(front: SlackFront) -> str:
    return f"http://{front.answers}/actions/x"
