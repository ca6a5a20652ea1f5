"""A whole broker whose files are edited: the audit and the server's page say whom that let in, once."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from broker.domain.events import Noted
from tests.channels.web.test_request_page import text_of
from tests.conftest import empty
from tests.fakes.wired import PEOPLE, Wired, wired

SERVERS = "servers: {tools: {url: 'URL', tools: {echo: {}, park_me: {}}, groups: {finance: ['*']}}}\n"
GUESTS = PEOPLE.replace("groups: {", "groups: {guests: [eve@example.com, gus@example.com], ")


async def noted(broker: Wired) -> list[Noted]:
    events = [entry.event for entry in await broker.run.broker.store.audit.read(0, 500)]
    return [event for event in events if isinstance(event, Noted) and event.what.startswith("policy.")]


async def test_an_edit_that_opens_a_server_is_an_event_and_stands_on_its_page_until_it_is_taken_back(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(store_url)
    monkeypatch.setattr("broker.widened.EVERY", 0.05)
    async with wired(store_url, tmp_path, servers=SERVERS, people=GUESTS) as broker:
        await broker.http.post(
            f"{broker.url}/sign-in", data={"code": await broker.run.broker.identity.links.add("dana@example.com")}
        )
        file = tmp_path / "policies" / "servers.yaml"
        before = file.read_text()

        async def page(says: str, there: bool) -> None:
            with anyio.fail_after(10):
                while (says in text_of((await broker.http.get(f"{broker.url}/servers/tools")).text)) is not there:  # noqa: ASYNC110
                    await anyio.sleep(0.05)

        await page("by an edit of the policy files", False)
        file.write_text(before.replace("finance: ['*']", "finance: ['*'], guests: [echo]"))
        await page("also group guests , about 2 people of people.yaml", True)
        (event,) = await noted(broker)
        told = "this widens access by guests and 2 people of people.yaml"
        digest = broker.run.broker.policies.current.digest
        assert (event.what, event.fields) == (
            "policy.widened", {"server": "tools", "groups": "guests", "people": "2", "told": told, "policy": digest},
        )  # fmt: skip
        file.write_text(before)
        await page("by an edit of the policy files", False)
        assert len(await noted(broker)) == 1
    opened = SERVERS.replace("finance: ['*']", "finance: ['*'], guests: ['*']")
    async with wired(store_url, tmp_path, servers=opened, people=GUESTS) as broker:  # edited while no broker ran
        with anyio.fail_after(10):
            while len(found := await noted(broker)) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert found[1].fields["told"] == "this widens access by guests and 2 people of people.yaml"
