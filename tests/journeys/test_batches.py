"""An agent proposes many calls, and a person decides on them together: each runs once or never, and none unasked."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2

from broker.app import store_of
from broker.domain.events import Reviewed
from broker.identity.people import SignInLinks
from broker.settings import Settings
from tests.fakes.ledger_server import Ledger
from tests.journeys.agents import Agent, code_of, text_of
from tests.journeys.brokers import REVIEWERS, Broker, Place, _clock
from tests.journeys.people import Person

REFUSED = {"to-2", "to-5", "to-8"}


@asynccontextmanager
async def signed_in(here: Place, broker: Broker) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser's session without a browser."""
    async with store_of(Settings(**here.settings)) as store:
        link = await SignInLinks(store.credentials, clock=_clock).add(REVIEWERS[0])
    async with httpx2.AsyncClient(base_url=broker.url, timeout=30, verify=False) as client:
        assert (await client.post("/sign-in", data={"code": link})).status_code == 303
        yield client


async def form_of(client: httpx2.AsyncClient, anchor: str) -> dict[str, str]:
    """What the batch's page would send if nobody touched it, once it holds ten requests."""
    while True:
        page = (await client.get(f"/batch/{anchor}")).text
        form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))
        if sum(name.startswith("seen.") for name in form) == 10:
            return form
        await anyio.sleep(0.02)


async def test_ten_are_proposed_seven_run_three_are_refused_and_the_eleventh_waits(
    here: Place, book: Ledger, token: str, reviewer: str
) -> None:
    answers: dict[str, dict[str, Any]] = {}
    with here.broker() as broker, anyio.fail_after(60):
        async with (
            Agent(broker.mcp("ledger"), token) as agent,
            Person(broker.url, reviewer) as fay,
            signed_in(here, broker) as browser,
            anyio.create_task_group() as calls,
        ):

            async def call(index: int) -> None:
                answers[f"to-{index}"] = await agent.call("transfer", {"to": f"to-{index}", "amount": index})

            for index in range(10):
                calls.start_soon(call, index)
            proposed = {one["title"].rpartition(" ")[2]: one["id"] for one in await fay.seen(10)}
            form = await form_of(browser, proposed["to-0"])
            calls.start_soon(call, 10)
            await fay.seen(11)
            verdicts = {f"verdict.{proposed[to]}": "reject" if to in REFUSED else "approve" for to in proposed}
            sent = await browser.post(f"/batch/{proposed['to-0']}", data=form | verdicts | {"reason": "not these three"})
            assert sent.status_code == 200
            await book.until(7)
            while len(answers) < 10:  # noqa: ASYNC110 - they come from outside
                await anyio.sleep(0.02)
            (late,) = await fay.listed("pending")
            assert (late["title"], "to-10" in answers) == ("Move 10 to to-10", False)
            calls.cancel_scope.cancel()
    assert sorted(effect["to"] for effect in book.effects()) == sorted(set(proposed) - REFUSED)
    refused = {to: answer for to, answer in answers.items() if answer.get("isError")}
    assert set(refused) == REFUSED
    assert {code_of(answer) for answer in refused.values()} == {"rejected"}
    assert all("not these three" in text_of(answer) for answer in refused.values())
    reviews = [entry.event for entry in await here.audit() if isinstance(entry.event, Reviewed)]
    assert {fact.request: fact.verdict for fact in reviews} == {
        name.removeprefix("verdict."): verdict for name, verdict in verdicts.items()
    }
    assert (len(reviews), len({fact.batch for fact in reviews}), bool(reviews[0].batch)) == (10, 1, True)
