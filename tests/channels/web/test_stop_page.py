"""The stop switch on the page about the broker."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from broker.approvals.stops import EVERYBODY, Stop
from broker.domain.events import Noted
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, CY, Site, served
from tests.channels.web.test_about_the_broker import text_of


async def press(site: Site, client: httpx2.AsyncClient, path: str, **fields: str) -> httpx2.Response:
    return await client.post(path, data={"csrf": await site.csrf(client), **fields})


async def stopped(site: Site) -> dict[str, str]:
    return {stop.agent: stop.by for stop in await site.parts.stops.all()}  # type: ignore[union-attr]


async def facts(site: Site) -> list[Any]:
    events = [entry.event for entry in await site.store.audit.read(0, 100)]
    return [
        (event.what, event.who, event.fields) for event in events if isinstance(event, Noted) and event.what.startswith("stop")
    ]


async def test_a_member_stops_an_agent_and_lifts_what_they_stopped(site: Site) -> None:
    ann = await site.visitor(ANN)
    answer = await press(site, ann, "/health/stops", agent=" bot ", whom="one", why="strange <b>refunds</b>")
    assert (answer.status_code, await stopped(site)) == (303, {"bot": ANN})
    page = (await ann.get("/health?agent=bot-2")).text
    assert "strange &lt;b&gt;refunds&lt;/b&gt;" in page
    assert 'value="bot-2"' in page
    assert "bot stopped" in text_of(page)
    await press(site, ann, "/health/stops/lift", agent="bot")
    assert await stopped(site) == {}
    why = {"agent": "bot", "why": "strange <b>refunds</b>"}
    assert await facts(site) == [("stop.set", ANN, why), ("stop.lifted", ANN, {"agent": "bot"})]


async def test_the_button_for_all_stops_all(site: Site) -> None:
    ann = await site.visitor(ANN)
    assert (await press(site, ann, "/health/stops", agent="", whom="all")).status_code == 303
    assert await stopped(site) == {EVERYBODY: ANN}
    assert "All agents stopped" in text_of((await ann.get("/health")).text)


async def test_an_agent_without_a_name_is_not_all_agents(site: Site) -> None:
    ann = await site.visitor(ANN)
    assert (await press(site, ann, "/health/stops", agent=" ", whom="one")).status_code == 400
    assert await stopped(site) == {}


async def test_what_somebody_else_stopped_is_lifted_by_observers_alone(store: Store) -> None:
    async with served(store, observers=("security",)) as site:
        bo, observer = await site.visitor(BO), await site.visitor(CY)
        await site.parts.stops.stop(Stop("bot", ANN, "", site.parts.clock()))  # type: ignore[union-attr]
        assert "/health/stops/lift" not in (await bo.get("/health")).text
        assert (await press(site, bo, "/health/stops/lift", agent="bot")).status_code == 403
        assert await stopped(site) == {"bot": ANN}
        assert (await press(site, observer, "/health/stops/lift", agent="bot")).status_code == 303
        assert await stopped(site) == {}


@pytest.mark.parametrize("path", ["/health/stops", "/health/stops/lift"])
async def test_whoever_is_in_no_group_or_brings_no_word_of_the_session_turns_no_switch(site: Site, path: str) -> None:
    nobody, ann = await site.visitor("nobody@example.com"), await site.visitor(ANN)
    assert (await press(site, nobody, path, agent="bot", whom="one")).status_code == 403
    assert (await ann.post(path, data={"agent": "bot", "whom": "one"})).status_code == 403
    assert await stopped(site) == {}
