"""What people say of results on the pages: who is asked, who may answer, what is counted, and what it never changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from broker.domain.events import Noted
from broker.domain.requests import ApprovalRequest, RequestState
from broker.identity.agents import AgentTokens
from broker.insights.usage import Count, Spot
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, CY, DANA, Site
from tests.channels.web.scenes import ran
from tests.channels.web.test_request_page import text_of

QUESTION = "How long would this have taken you by hand?"


@pytest.fixture
async def result(site: Site) -> ApprovalRequest:
    """A call of Dana's agent that Bo approved and that ran."""
    request = await site.park()
    await ran(site, request, BO)
    return request


async def say(site: Site, client: httpx2.AsyncClient, request: ApprovalRequest, minutes: str) -> httpx2.Response:
    return await client.post(f"/r/{request.id}/feedback", data={"csrf": await site.csrf(client), "minutes": minutes})


async def told(site: Site) -> list[tuple[str, int | None, int]]:
    month = await site.store.usage.month(f"{datetime.now(UTC):%Y-%m}")
    return [(one.tool, one.people_minutes, one.answers) for one in month.estimates]


async def given(store: Store) -> list[dict[str, str]]:
    events = [entry.event for entry in await store.audit.read(0, 500)]
    return [event.fields for event in events if isinstance(event, Noted) and event.what == "feedback.given"]


async def test_the_one_behind_a_call_is_asked_once_it_ran_and_nobody_else_is(site: Site, result: ApprovalRequest) -> None:
    dana, ann, waiting = await site.visitor(DANA), await site.visitor(ANN), await site.park("Refund 20 EUR", {"amount": 20})
    assert QUESTION in (await dana.get(f"/r/{result.id}")).text
    assert QUESTION not in (await dana.get(f"/r/{waiting.id}")).text
    assert QUESTION not in (await ann.get(f"/r/{result.id}")).text
    assert (await say(site, dana, result, "30")).status_code == 303
    assert "Thank you: counted" in (page := (await dana.get(f"/r/{result.id}")).text)
    assert 'value="30" aria-pressed="true"' in page
    assert await told(site) == [("refund_create", 30, 1)]
    assert await given(site.store) == [
        {
            "request": result.id, "server": "payments", "tool": "refund_create", "channel": "web", "minutes": "30",
            "estimate": "6",
        }
    ]  # fmt: skip


async def test_a_second_answer_replaces_the_first_and_skipping_takes_it_back(site: Site, result: ApprovalRequest) -> None:
    dana = await site.visitor(DANA)
    seen = []
    for minutes in ("30", "30", "0", "skip"):
        await say(site, dana, result, minutes)
        seen.append(await told(site))
    assert seen == [[("refund_create", 30, 1)], [("refund_create", 30, 1)], [("refund_create", 0, 1)], []]
    assert "Skipped. You may still answer." in (await dana.get(f"/r/{result.id}")).text
    assert [fields["minutes"] for fields in await given(site.store)] == ["30", "30", "0", "skipped"]


async def test_a_result_of_somebody_else_reads_like_none_even_to_those_who_approved_it(
    site: Site, result: ApprovalRequest
) -> None:  # fmt: skip
    bo, stranger = await site.visitor(BO), await site.visitor("nobody@example.com")
    unknown = await bo.post("/r/apr_0_x/feedback", data={"csrf": await site.csrf(bo), "minutes": "30"})
    answers = [await say(site, bo, result, "30"), await say(site, stranger, result, "30")]
    assert [answer.status_code for answer in (unknown, *answers)] == [404, 404, 404]
    assert text_of(answers[0].text) == text_of(unknown.text)
    assert (await told(site), await given(site.store)) == ([], [])


@pytest.mark.parametrize("minutes", ["", "-5", "481", "9999999999", "1e3", "30.5", "NaN", "３０", "later"])
async def test_minutes_that_nobody_can_have_saved_are_refused(site: Site, result: ApprovalRequest, minutes: str) -> None:
    answer = await say(site, await site.visitor(DANA), result, minutes)
    assert (answer.status_code, "from 0 to 480" in answer.text) == (422, True)
    assert await told(site) == []


async def test_a_call_that_did_not_run_is_asked_nothing_and_takes_no_answer(site: Site) -> None:
    dana, request = await site.visitor(DANA), await site.park()
    await site.review(await site.visitor(BO), request, "reject", "not today")
    assert QUESTION not in (await dana.get(f"/r/{request.id}")).text
    assert (await say(site, dana, request, "30")).status_code == 409
    assert await told(site) == []


async def test_an_answer_needs_the_sessions_own_form_and_no_agent_has_one(site: Site, result: ApprovalRequest) -> None:
    agents = AgentTokens(site.store.credentials, clock=lambda: datetime.now(UTC))
    token = await agents.add("billing-bot", owner=DANA, lasts=timedelta(hours=1))
    agent, dana, api = site.stranger(), await site.visitor(DANA), await site.api(DANA)
    path, form = f"/r/{result.id}/feedback", {"minutes": "240"}
    bearer = await agent.post(path, data=form, headers={"authorization": f"Bearer {token}"})
    unsigned = await dana.post(path, data=form)
    foreign = await dana.post(
        path, data={**form, "csrf": await site.csrf(dana)}, headers={"origin": "https://evil.example"}
    )  # fmt: skip
    assert [bearer.headers["location"], unsigned.status_code, foreign.status_code] == ["/sign-in", 403, 403]
    assert (await api.post(f"/api/v1/requests/{result.id}/feedback", json={"minutes": 240})).status_code in (404, 405)
    assert (await told(site), await site.state(result)) == ([], RequestState.COMPLETED)


async def test_who_does_not_want_to_be_asked_is_not(site: Site, result: ApprovalRequest) -> None:
    dana = await site.visitor(DANA)
    for ask, shown, button in (("no", False, "Ask me again"), ("yes", True, "Don't ask me")):
        answer = await dana.post("/account/feedback", data={"csrf": await site.csrf(dana), "ask": ask})
        assert answer.headers["location"] == "/account"
        assert (QUESTION in (await dana.get(f"/r/{result.id}")).text) is shown
        assert button in text_of((await dana.get("/account")).text)
    assert (await dana.post("/account/feedback", data={"ask": "no"})).status_code == 403


async def test_five_answers_give_a_median_beside_the_owners_minutes_which_stay_as_they_are(site: Site) -> None:
    today = site.web.now().date()
    await site.store.usage.add({Spot(today, "payments", "refund_create", 6.0): Count(10)}, {today: {("payments", DANA)}})
    before, dana = await site.store.usage.month(f"{today:%Y-%m}"), await site.visitor(DANA)
    for number, minutes in enumerate(("0", "240", "30", "15", "60")):
        await ran(site, request := await site.park(f"Refund {number} EUR", {"amount": number}), CY)
        await say(site, dana, request, minutes)
    ann = await site.api(ANN)
    estimate = {
        "server": "payments", "tool": "refund_create", "calls": 10, "owner_minutes": 6.0, "people_minutes": 30, "answers": 5,
    }  # fmt: skip
    use = (await ann.get("/api/v1/usage")).json()
    assert (use["estimates"], use["servers"][0]["minutes"]) == ([estimate], 60.0)
    page = text_of((await (await site.visitor(ANN)).get("/insights")).text)
    assert "payments refund_create 10 6 30 5" in page
    assert (await site.store.usage.month(f"{today:%Y-%m}")).minutes == before.minutes == 60.0


async def test_of_allowed_calls_a_person_is_asked_by_tool_once_a_month_on_their_own_page(site: Site) -> None:
    today = site.web.now().date()
    await site.store.usage.add({}, {}, {today: {(DANA, "payments", "refund_get"), (DANA, "files", "<read>")}})
    dana, ann, asked = await site.visitor(DANA), await site.visitor(ANN), "how long would it have taken you by hand?"

    async def answer(client: httpx2.AsyncClient, tool: str, minutes: str, server: str = "payments") -> int:
        form = {"csrf": await site.csrf(client), "server": server, "tool": tool, "minutes": minutes}
        return (await client.post("/account/results", data=form)).status_code

    page = (await dana.get("/account")).text
    assert (page.count(asked), "&lt;read&gt;" in page, asked in (await ann.get("/account")).text) == (2, True, False)
    assert await answer(ann, "refund_get", "30") == 404  # not a call of hers
    assert await answer(dana, "made-up", "30") == 404
    assert await answer(dana, "refund_get", "481") == 422
    assert await told(site) == []
    assert [await answer(dana, "refund_get", minutes) for minutes in ("30", "60")] == [303, 303]
    assert await answer(dana, "<read>", "skip", "files") == 303
    assert await told(site) == [("refund_get", 60, 1)]
    assert asked not in (await dana.get("/account")).text
    assert [fields["minutes"] for fields in await given(site.store)] == ["30", "60", "skipped"]
