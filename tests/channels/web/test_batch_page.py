"""The page of a batch: one form, one answer for each request, and nothing that it did not show."""

from __future__ import annotations

import re
from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.events import Reviewed
from broker.domain.requests import ApprovalRequest, Origin, RequestState
from tests.channels.web.conftest import ANN, BO, EVE, Site


async def parked(site: Site, count: int, **more: Any) -> list[ApprovalRequest]:
    """Park calls of one agent that differ in the amount."""
    show = {"show": ("args.customer", "args.amount")} | more
    calls = [{"customer": "Acme", "amount": amount, "note": f"n{amount}"} for amount in range(1, count + 1)]
    return [await site.park(f"Refund {call['amount']}", call, **show) for call in calls]


async def opened(site: Site, client: httpx2.AsyncClient, requests: list[ApprovalRequest]) -> str:
    """Return the batch's page once it holds all of them."""
    with anyio.fail_after(5):
        while True:
            page = (await client.get(f"/batch/{requests[0].id}")).text
            if all(f"/r/{one.id}" in page for one in requests):
                return page
            await anyio.sleep(0.01)


async def sent(site: Site, client: httpx2.AsyncClient, page: str, verdicts: dict[str, str], **fields: str) -> httpx2.Response:
    """Send the form of a page with these verdicts; the rest of it stays as it is."""
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))
    left = dict.fromkeys(re.findall(r'name="(verdict\.[^"]+)"', page), "leave")
    action = re.search(r'action="(/batch/[^"]+)"', page)
    assert action
    form = hidden | left | {f"verdict.{name}": verdict for name, verdict in verdicts.items()} | fields
    return await client.post(action[1], data=form)


def results(page: str) -> list[tuple[str, str]]:
    """What the page says of each answer: the mark, and the words."""
    found = re.findall(r'<li><span class="state \w+">([^<]+)</span>\s*<div>.*?<span class="soft">([^<]*)</span>', page)
    return [(mark, words) for mark, words in found]


async def test_ten_are_decided_in_one_form_and_the_eleventh_waits(site: Site) -> None:
    requests, ann = await parked(site, 10), await site.visitor(ANN)
    page = await opened(site, ann, requests)
    late = await site.park("Refund 99", {"amount": 99})
    verdicts = {one.id: "reject" if index in (2, 5, 8) else "approve" for index, one in enumerate(requests)}
    answer = await sent(site, ann, page, verdicts, reason="not these")
    assert results(answer.text) == [
        ("Rejected", "Rejected.") if v == "reject" else ("Approved", "Approved.") for v in verdicts.values()
    ]
    facts = [entry.event for entry in await site.store.audit.read(0, 200) if isinstance(entry.event, Reviewed)]
    assert [(fact.request, fact.verdict) for fact in facts] == list(verdicts.items())
    assert (len({fact.batch for fact in facts}), len({fact.view for fact in facts}), bool(facts[0].batch)) == (1, 10, True)
    assert {(await site.store.requests.get(one.id)).note for one in requests} == {"", "not these"}
    assert await site.state(late) is RequestState.PENDING
    told = (await ann.get(f"/r/{requests[0].id}")).text
    assert f"with others as {facts[0].batch}" in told
    export = await site.listed(ann, facts[0].batch, "/history/export/csv")
    assert export.count(facts[0].batch) == 10


async def test_what_is_the_same_stands_once_and_what_differs_in_columns(site: Site) -> None:
    requests = [*await parked(site, 3), await site.park("Ship", {"amount": 1}, tool="ship", show=("args.amount",))]
    page = await opened(site, await site.visitor(ANN), requests)
    assert re.findall(r'<th scope="col">([^<]+)</th>', page) == ["Request", "calls", "customer", "amount", "Your answer"]
    assert re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page)[0] == ("severity", "high")
    assert page.count("n1") >= 1
    assert page.count('value="leave" checked') == 4
    for tick in ("approve", "reject"):
        ticked = (await (await site.visitor(ANN)).get(f"/batch/{requests[0].id}?tick={tick}")).text
        assert ticked.count(f'value="{tick}" checked') == 4


async def test_what_can_not_be_decided_together_says_so_and_has_no_buttons(site: Site) -> None:
    requests = [
        await site.park("Plain", {"x": 1}), await site.park("Key", {"x": 2}, step_up=True),
        await site.park("Typed", {"x": 3}, type_to_confirm="args.x"), await site.park("Critical", {"x": 4}, severity="critical"),
        await site.park("Secret", {"key": "ghp_" + "a1B2" * 9}), await site.park("Long", {"x": "y" * 9_000}),
        await site.park("Own", {"x": 5}, owner=ANN),
    ]  # fmt: skip
    ann = await site.visitor(ANN)
    page = await opened(site, ann, requests)
    assert set(re.findall(r'name="verdict\.([^"]+)"', page)) == {requests[0].id}
    for words in (
        "It needs a passkey",
        "A value has to be typed",
        "It is critical",
        "uncover them on its page",
        "It is too long",
        "You asked",
    ):
        assert words in page
    forced = {f"seen.{one.id}": f"{one.digest} {one.version}" for one in requests}
    answer = await sent(site, ann, page, {one.id: "approve" for one in requests}, **forced)
    assert [mark for mark, _ in results(answer.text)] == ["Approved", *["Not counted"] * 6]
    assert [await site.state(one) for one in requests[1:]] == [RequestState.PENDING] * 6


async def test_a_form_that_was_overtaken_answers_item_by_item(site: Site) -> None:
    requests, ann = await parked(site, 4), await site.visitor(ANN)
    page = await opened(site, ann, requests)
    bo = await site.visitor(BO)
    await site.review(bo, requests[0], "approve")
    await bo.post(f"/r/{requests[1].id}/comment", data={"csrf": await site.csrf(bo), "comment": "who is this?"})
    foreign = await site.park("Foreign", {"x": 1}, agent="mail-bot")
    hidden = await site.park("Hidden", {"x": 2}, asks=(("security", 1),))
    smuggled = {f"seen.{one.id}": f"{one.digest} 1" for one in (foreign, hidden)}
    verdicts = {one.id: "approve" for one in (*requests[:3], foreign, hidden)} | {"<b>odd": "approve"}
    answer = await sent(site, ann, page, verdicts, **smuggled)
    assert results(answer.text) == [
        ("Not counted", "This was decided just now: approved by Bo Tanaka. Your answer was not counted."),
        ("Not counted", "The request has changed since it was shown: look again."),
        ("Approved", "Approved."),
        ("Not counted", "There is no such request."),
        ("Not counted", "There is no such request."),
        ("Not counted", "There is no such request."),
    ]
    assert "<b>odd" not in answer.text
    assert "Foreign" not in answer.text
    again = await sent(site, ann, page, {requests[2].id: "approve"})
    assert results(again.text)[0][0] == "Not counted"
    assert len((await site.store.requests.get(requests[2].id)).reviews) == 1
    assert [await site.state(one) for one in (requests[1], requests[3], foreign, hidden)] == [RequestState.PENDING] * 4


@pytest.mark.parametrize(
    ("verdict", "wrong"),
    [("reject", "Say why"), ("leave", "Choose approve or reject for at least one")],
    ids=["no reason", "all left"],
)
async def test_a_form_that_will_not_do_comes_back_as_it_was_filled_in(site: Site, verdict: str, wrong: str) -> None:
    requests, ann = await parked(site, 2), await site.visitor(ANN)
    page = await opened(site, ann, requests)
    answer = await sent(site, ann, page, {requests[0].id: verdict, requests[1].id: "approve" if verdict == "reject" else "leave"})
    assert (answer.status_code, wrong in answer.text, "Nothing was counted" in answer.text) == (422, True, True)
    assert answer.text.count('value="approve" checked') == (verdict == "reject")
    assert [await site.state(one) for one in requests] == [RequestState.PENDING] * 2


async def test_a_batch_is_seen_by_those_who_see_its_requests_and_decided_with_their_sessions_token(site: Site) -> None:
    requests, ann = await parked(site, 2), await site.visitor(ANN)
    page = await opened(site, ann, requests)
    eve = await site.visitor(EVE)
    assert (await eve.get(f"/batch/{requests[0].id}")).status_code == 404
    assert (await eve.get(f"/batch/{requests[0].id}/news?since=0")).status_code == 404
    assert (await site.stranger().get(f"/batch/{requests[0].id}")).status_code == 303
    assert (await sent(site, ann, page, {requests[0].id: "approve"}, csrf="x")).status_code == 403
    assert [await site.state(one) for one in requests] == [RequestState.PENDING] * 2


async def test_more_than_fifty_are_shown_in_parts_and_news_are_told(site: Site) -> None:
    labelled = [await site.park(f"N {n}", {"n": n}, origin=Origin(batch="<b>May</b>")) for n in range(52)]
    ann = await site.visitor(ANN)
    await site.listed(ann, "52 alike")
    page = (await ann.get(f"/batch/{labelled[0].id}")).text
    assert (len(set(re.findall(r'name="seen\.', page))), page.count('name="seen.'), "and 2 more after these" in page) == (
        1,
        50,
        True,
    )
    assert "&lt;b&gt;May&lt;/b&gt;" in page
    news = re.search(r'hx-get="(/batch/[^"]+/news[^"]+)"', page)
    assert news
    assert "2 more have come since" in (await ann.get(news[1])).text
    assert "One of 52 that its agent proposed together" in (await ann.get(f"/r/{labelled[3].id}")).text
