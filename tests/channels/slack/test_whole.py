"""A whole broker with Slack on: an agent calls over MCP, somebody presses in Slack, the agent gets its answer."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from broker.running import Running, running
from broker.settings import Settings
from tests.channels.slack.bench import text
from tests.conftest import empty
from tests.fakes.serving import started
from tests.fakes.slack_front import SlackFront
from tests.journeys.agents import Agent

RULES = """
defaults: {unmatched: deny}
rules:
  - id: transfers
    title: "Transfer {args.amount}"
    match: {server: ledger, tool: transfer}
    effect: require_approval
    approval: {all_of: [{group: finance}], timeout: 5m, channels: ["slack:#ops"]}
"""


@dataclass
class Whole:
    """A served broker, the workspace, and an agent."""

    broker: Running
    slack: SlackFront
    agent: str

    async def call(self, **arguments: Any) -> dict[str, Any]:
        async with Agent(f"{self.broker.url}/mcp/ledger", self.agent) as agent:
            return await agent.call("transfer", arguments)

    async def card(self, says: str) -> dict[str, Any]:
        with anyio.fail_after(20):
            while True:
                for message in await self.slack.messages("ops"):
                    if says in text(message):
                        return message
                await self.slack.next_call()


@pytest.fixture
async def whole(store_url: str, front: SlackFront, tmp_path: Path) -> AsyncIterator[Whole]:
    await empty(store_url)
    folder = tmp_path / "policies"
    folder.mkdir()
    dana = await front.user("dana")
    with started([sys.executable, "-m", "tests.fakes.ledger_server", str(tmp_path / "ledger")]) as upstream:
        (folder / "servers.yaml").write_text(f"servers: {{ledger: {{url: '{upstream}', tools: {{transfer: {{}}}}}}}}")
        front.usergroups["S0FIN"] = [dana]
        people = f"people: {{dana@example.com: {{slack_id: {dana}}}, fay@example.com: {{}}}}"
        (folder / "people.yaml").write_text(f"{people}\ngroups: {{finance: {{members: [fay@example.com], slack: S0FIN}}}}")
        (folder / "rules.yaml").write_text(RULES)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = Settings(
            redis_url=store_url, policies=folder, data=tmp_path / "data", port=port, slack_bot_token="xoxb-test",
            slack_signing_secret=front.secret, slack_url=front.url, slack_answers=front.answers,
            public_url=f"http://127.0.0.1:{port}",
        )  # fmt: skip
        async with running(settings) as broker:
            front.deliver = broker.url
            agent = await broker.broker.identity.agents.add("bot", owner="owen@example.com", lasts=timedelta(hours=1))
            yield Whole(broker, front, agent)


async def test_an_agents_call_waits_for_a_press_in_slack_and_gets_its_answer(whole: Whole) -> None:
    answer = asyncio.create_task(whole.call(amount=7, to="bob"))
    card = await whole.card("Transfer 7")
    await whole.slack.interact(await whole.slack.click("ops", card["ts"], "approve", await whole.slack.user("dana")))
    with anyio.fail_after(20):
        told = await answer
    assert told["content"][0]["text"] == "moved 7 to bob"
    assert told["_meta"]["approval-broker/code"] == "released"
    await whole.card("Approved and ran")
    assert whole.slack.counted()["usergroups.users.list"] >= 1  # she is asked since Slack's user group holds her


async def test_an_account_is_connected_on_the_web_by_whom_the_session_names_and_once(whole: Whole) -> None:
    fay, base = await whole.slack.user("fay"), whole.broker.url
    await whole.slack.command("link", fay)
    with anyio.fail_after(10):
        await whole.slack.until(lambda: whole.slack.answers_said)
    found = re.search(r"/slack/link/\S+", str(whole.slack.answers_said.pop(0)["text"]))
    assert found is not None
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(base + found[0]) as page:
            assert page.status == 401
        session = await whole.broker.broker.identity.sessions.start("fay@example.com", how="link")
        cookie = {"cookie": f"broker={session.secret}"}
        async with browser.get(base + found[0], headers=cookie) as page:
            said = await page.text()
            assert "Fay, fay, fay@example.com" in said
            assert "script" not in said
            assert "default-src 'none'" in page.headers["content-security-policy"]
        async with browser.post(base + found[0], headers=cookie, data={"csrf": "forged"}) as page:
            assert page.status == 403
        async with browser.post(base + found[0], headers=cookie, data={"csrf": session.csrf}) as page:
            assert (page.status, "Done" in await page.text()) == (200, True)
        async with browser.get(base + found[0], headers=cookie) as page:
            assert page.status == 410
