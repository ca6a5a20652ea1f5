"""What people write beside a request, and who else looks at it."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import expect

from broker.domain.events import Commented
from broker.domain.requests import RequestState
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, CY, DANA, EVE, Site, served
from tests.channels.web.test_in_a_browser import tab_of, violations


async def test_a_comment_is_shown_to_people_kept_in_the_audit_and_decides_nothing(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    form = {"csrf": await site.csrf(ann), "comment": " Is <b>this</b> the right customer? "}
    assert (await ann.post(f"/r/{request.id}/comment", data=form)).headers["location"] == f"/r/{request.id}"
    for person in (BO, DANA):
        page = (await (await site.visitor(person)).get(f"/r/{request.id}")).text
        assert "Ann Lindqvist wrote" in page
        assert "<q>Is &lt;b&gt;this&lt;/b&gt; the right customer?</q>" in page
    assert await site.state(request) is RequestState.PENDING
    facts = [entry.event for entry in await site.store.audit.about(request.id) if isinstance(entry.event, Commented)]
    assert [(fact.who, fact.channel, fact.text) for fact in facts] == [(ANN, "web", "Is <b>this</b> the right customer?")]


async def test_a_comment_that_is_empty_or_endless_comes_back_with_the_page(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    for text, told in (("  ", "Write something first"), ("x" * 2001, "longer than 2,000 characters")):
        answer = await ann.post(f"/r/{request.id}/comment", data={"csrf": await site.csrf(ann), "comment": text})
        assert answer.status_code == 422
        assert told in answer.text
        assert f">{text}</textarea>" in answer.text
    assert (await site.store.requests.get(request.id)).comments == ()


async def test_who_only_looks_on_has_no_form_and_is_refused(store: Store) -> None:
    async with served(store, observers=("strangers",)) as site:
        request = await site.park()
        eve = await site.visitor(EVE)
        assert 'name="comment"' not in (await eve.get(f"/r/{request.id}")).text
        answer = await eve.post(f"/r/{request.id}/comment", data={"csrf": await site.csrf(eve), "comment": "hello"})
        assert (answer.status_code, "Only those who are asked" in answer.text) == (403, True)


async def test_a_program_comments_by_the_api_with_the_scope_to_review(site: Site) -> None:
    request = await site.park()
    path = f"/api/v1/requests/{request.id}/comments"
    told = (await (await site.api(ANN)).post(path, json={"text": "checked"})).json()
    assert [(one["who"], one["channel"], one["text"]) for one in told["comments"]] == [(ANN, "api", "checked")]
    assert (await (await site.api(ANN, "read")).post(path, json={"text": "x"})).json()["scope"] == "review"
    wrong = await (await site.api(ANN)).post(path, json={"text": " "})
    assert (wrong.status_code, wrong.headers["content-type"], wrong.json()["code"]) == (
        422, "application/problem+json", "incomplete",
    )  # fmt: skip


def lookers(page: str) -> str:
    found = re.search(r'<p class="lookers"[^>]*>(.*?)</p>', page, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r'aria-hidden="true">.*?</span></span>', ">", found[1])).split())


async def test_who_else_looks_is_named_and_nobody_sees_themselves(site: Site) -> None:
    request = await site.park()
    ann, bo = await site.visitor(ANN), await site.visitor(BO)
    assert lookers((await ann.get(f"/r/{request.id}")).text) == ""
    assert lookers((await bo.get(f"/r/{request.id}")).text) == "Ann Lindqvist is looking at this too"
    await (await site.visitor(CY)).get(f"/r/{request.id}")
    assert "Bo Tanaka, Cy Osei are looking" in (await ann.get(f"/r/{request.id}/looking")).text
    other = await site.park("Another", {"n": 2})
    assert lookers((await bo.get(f"/r/{other.id}")).text) == ""


async def test_people_see_each_other_and_what_they_write_without_a_reload(site: Site, browser: Any) -> None:
    request = await site.park()
    ann, wrong = await tab_of(site, browser)
    await ann.goto(f"/r/{request.id}")
    bo, _ = await tab_of(site, browser, BO)
    await bo.goto(f"/r/{request.id}")
    await expect(bo.get_by_text("Ann Lindqvist is looking at this too")).to_be_visible()
    await expect(ann.get_by_text("Bo Tanaka is looking at this too")).to_be_visible()
    await ann.get_by_label("Comment").fill("half a sen")
    await bo.get_by_label("Comment").fill("Is this the right customer?")
    await bo.get_by_role("button", name="Add the comment").click()
    await expect(ann.get_by_text("Is this the right customer?")).to_be_visible()
    await expect(ann.get_by_label("Comment")).to_have_value("half a sen")
    await expect(bo.get_by_label("Comment")).to_have_value("")
    assert (wrong, await violations(ann), await violations(bo)) == ([], [], [])
