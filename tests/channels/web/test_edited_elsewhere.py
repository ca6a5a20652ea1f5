"""A request that changes elsewhere while it is open: the page follows, what is typed stays, a stale form decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest
from playwright.async_api import expect

from broker.domain.decisions import ApprovalPlan, RequireApproval, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest
from tests.channels.web.conftest import ANN, BO, Site
from tests.channels.web.test_in_a_browser import tab_of, violations

Edit = Callable[[Site, ApprovalRequest], Awaitable[None]]


async def decided(site: Site, request: ApprovalRequest) -> None:
    await site.review(await site.visitor(BO), request, "reject", "credited before")


async def withdrawn(site: Site, request: ApprovalRequest) -> None:
    await site.store.requests.update(request.id, lambda held, now: held.cancelled(now))


async def redefined(site: Site, request: ApprovalRequest) -> None:
    why = "the tool's definition changed after it was asked"
    await site.store.requests.update(request.id, lambda held, now: held.voided(now, why))


async def tightened(site: Site, request: ApprovalRequest) -> None:
    """Somebody approves, and the release finds that the policy of now needs another one of finance and one of security."""
    await site.review(await site.visitor(BO), request, "approve")
    asks = (RuleApproval("refund-large", (Requirement("finance", 2), Requirement("security", 1))),)
    plan = ApprovalPlan(title=request.plan.title, asks=asks, timeout=timedelta(hours=1))
    stricter = RequireApproval(policy="sha256:" + "6a" * 32, rules=("refund-large",), reasons=(), plan=plan)
    await site.store.requests.update(request.id, lambda held, now: held.reopened(stricter, held.reviews, now))


ENDS: list[tuple[Edit, str, str]] = [
    (decided, "Rejected", "rejected by Bo Tanaka"),
    (withdrawn, "Withdrawn", "withdrawn by billing-bot"),
    (redefined, "Voided", "voided"),
]


async def parked(site: Site) -> ApprovalRequest:
    request = await site.park(arguments={"amount": 900, "nonce": str(anyio.current_time())})
    await site.listed(await site.visitor(ANN), "Refund 900")
    return request


async def half_typed(page: Any) -> None:
    await page.get_by_text("Reject…").click()
    await page.get_by_label("Why? The agent is told this.").fill("half a sen")


async def test_an_open_page_follows_what_ends_elsewhere_and_keeps_what_was_typed(site: Site, browser: Any) -> None:
    page, wrong = await tab_of(site, browser)
    for edit, state, _ in ENDS:
        for place in ("/r/{}", "/"):
            request = await parked(site)
            await page.goto(place.format(request.id))
            await half_typed(page)
            await edit(site, request)
            await expect(page.get_by_role("heading", name=state)).to_be_visible()
            await expect(page.get_by_text("You had written, and it was not sent:")).to_be_visible()
            await expect(page.locator("[data-unsent] q")).to_have_text("half a sen")
            await expect(page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    assert (wrong, await violations(page)) == ([], [])


async def test_a_policy_that_asks_for_more_shows_on_the_open_page_which_keeps_what_was_typed(site: Site, browser: Any) -> None:
    request = await parked(site)
    page, wrong = await tab_of(site, browser)
    await page.goto(f"/r/{request.id}")
    await half_typed(page)
    await tightened(site, request)
    await expect(page.get_by_text("1 of 2 of finance")).to_be_visible()
    await expect(page.get_by_text("0 of 1 of security")).to_be_visible()
    await expect(page.get_by_label("Why? The agent is told this.")).to_have_value("half a sen")
    await expect(page.get_by_role("button", name="Reject", exact=True)).to_be_visible()
    assert (wrong, await violations(page)) == ([], [])


@pytest.mark.parametrize("scripts", [True, False])
async def test_a_stale_form_is_answered_on_the_page_and_decides_nothing(site: Site, browser: Any, scripts: bool) -> None:
    """With scripts on, the page hears of nothing: its stream is cut."""
    page = await site.tab(browser, ANN, java_script_enabled=scripts)
    await page.route("**/live", lambda route: route.abort())
    more = (tightened, "Waiting", "The policy asks for something else since you opened this page: look again.")
    for edit, state, told in (*ENDS, more):
        request = await parked(site)
        await page.goto(f"/r/{request.id}")
        await edit(site, request)
        before = await site.store.requests.get(request.id)
        await page.get_by_role("button", name="Approve", exact=True).click()
        await expect(page.locator("#detail [role=alert]").filter(has_text=told)).to_be_visible()
        await expect(page.locator(".chips .state")).to_have_text(state)
        assert await site.store.requests.get(request.id) == before
        assert page.url == f"{site.url}/r/{request.id}{'' if scripts else '/review'}"


async def test_who_approves_after_all_is_not_told_of_the_reason_they_had_begun(site: Site, browser: Any) -> None:
    request = await parked(site)
    page, wrong = await tab_of(site, browser)
    await page.goto(f"/r/{request.id}")
    await half_typed(page)
    await page.get_by_text("Back", exact=True).click()
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    await expect(page.get_by_text("You had written")).to_have_count(1)
    await expect(page.get_by_text("You had written")).to_be_hidden()
    assert (wrong, await violations(page)) == ([], [])


async def test_a_rejection_that_comes_too_late_gives_back_what_was_written(site: Site, browser: Any) -> None:
    request = await parked(site)
    page = await site.tab(browser, ANN, java_script_enabled=False)
    await page.goto(f"/r/{request.id}")
    await half_typed(page)
    await withdrawn(site, request)
    await page.get_by_role("button", name="Reject", exact=True).click()
    await expect(page.get_by_role("alert").filter(has_text="Your answer was not counted.")).to_be_visible()
    await expect(page.locator("[data-unsent] q")).to_have_text("half a sen")


async def test_an_approval_on_a_page_that_another_approval_has_outdated_completes_the_quorum(site: Site, browser: Any) -> None:
    request = await site.park(asks=(("finance", 2),))
    page = await site.tab(browser, ANN)
    await page.route("**/live", lambda route: route.abort())
    await page.goto(f"/r/{request.id}")
    await site.review(await site.visitor(BO), request, "approve")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    reviewers = [review.reviewer for review in (await site.store.requests.get(request.id)).reviews]
    assert reviewers == [BO, ANN]
