"""An agent's credential, tried on every page in every way a request can carry it: refused, and the audit says whose it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2

from broker.domain.requests import RequestState
from broker.identity.agents import AgentTokens
from broker.store.open import Store
from tests.channels.web.conftest import ANN, DANA, Site, served
from tests.channels.web.test_outsiders import ABOUT_REQUESTS, FOR_MEMBERS, OWN

PUBLIC = {"GET /static/app.css", "GET /sw.js", "GET /sign-in"}
AGAIN = timedelta(minutes=2)


@asynccontextmanager
async def with_agent(store: Store) -> AsyncIterator[tuple[Site, str]]:
    agents = AgentTokens(store.credentials, clock=lambda: datetime.now(UTC))
    token = await agents.add("mallory", owner=DANA, lasts=timedelta(hours=1))
    async with served(store, callers=agents.authenticate) as site:
        yield site, token


async def refusals(store: Store) -> list[str]:
    """Whose credentials the audit says were refused, and where."""
    noted = (entry.event for entry in await store.audit.read(0, 1_000) if getattr(entry.event, "what", "") == "agent.refused")
    return [f"{event.who} {event.fields['path']}" for event in noted]


async def test_no_page_opens_to_an_agents_credential_and_each_try_is_written_down(store: Store) -> None:
    async with with_agent(store) as (site, token):
        request = await site.park()
        tried = []
        for endpoint in sorted(OWN | dict.fromkeys(ABOUT_REQUESTS | FOR_MEMBERS | PUBLIC, 0)):
            method, path = endpoint.split(" ")
            path = path.replace("{request_id:str}", request.id).replace("{form:str}", "csv").replace(":str}", "}")
            ways = [{"authorization": f"Bearer {token}"}]
            ways += [{"cookie": f"broker={token}"}] * (endpoint not in PUBLIC or endpoint == "GET /sign-in")
            for headers in ways:
                site.ahead[0] += AGAIN
                answer = await site.stranger().request(method, path, headers=headers, data={} if method == "POST" else None)
                assert (endpoint, answer.status_code) == (endpoint, 403)
                assert "agent&#39;s credential" in answer.text
                tried.append(f"mallory {path}")
        assert await site.state(request) is RequestState.PENDING
    assert await refusals(store) == tried


async def test_an_agents_credential_in_a_form_is_refused_and_written_down(store: Store) -> None:
    async with with_agent(store) as (site, token):
        request = await site.park()
        approve = {"verdict": "approve", "digest": request.digest}
        forms = {
            f"/r/{request.id}/review": {"csrf": token, **approve},
            f"/r/{request.id}/record": {"csrf": token, "ran": "yes", "why": "x"},
            "/sign-in": {"code": f"{site.url}/sign-in/{token}"},
        }
        for path, form in forms.items():
            site.ahead[0] += AGAIN
            assert (await site.stranger().post(path, data=form)).status_code == 403
        site.ahead[0] += AGAIN
        assert (await site.stranger().get(f"/sign-in/{token}")).status_code == 403
        assert await site.state(request) is RequestState.PENDING
    assert await refusals(store) == [f"mallory {path}" for path in (*forms, "/sign-in")]


async def test_who_tries_without_an_end_is_written_down_once_a_minute(store: Store) -> None:
    async with with_agent(store) as (site, token):
        for _ in range(20):
            await site.stranger().get("/", headers={"authorization": f"Bearer {token}"})
        site.ahead[0] += AGAIN
        await site.stranger().get("/", headers={"cookie": f"broker={token}"})
    assert await refusals(store) == ["mallory /", "mallory /"]


async def test_whoever_is_signed_in_is_asked_for_nothing_more_and_no_form_is_tried_without_an_end(store: Store) -> None:
    asked: list[str | None] = []
    agents = AgentTokens(store.credentials, clock=lambda: datetime.now(UTC))

    async def counting(authorization: str | None) -> object:
        asked.append(authorization)
        return await agents.authenticate(authorization)

    async with served(store, callers=counting) as site:
        ann: httpx2.AsyncClient = await site.visitor(ANN)
        assert (await ann.get("/", headers={"authorization": "Bearer " + "x" * 40})).status_code == 200
        assert asked == []
        endless = {f"field{number}": "x" * 40 for number in range(500)}
        assert (await site.stranger().post("/sign-out", data=endless)).status_code == 303
    assert len(asked) == 4
