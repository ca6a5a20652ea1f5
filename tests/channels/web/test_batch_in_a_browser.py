"""The page of a batch in a real Chromium: with and without JavaScript, and with what hostile agents write."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from broker.domain.requests import Origin, RequestState
from tests.channels.web.conftest import ANN, Site
from tests.channels.web.test_batch_page import opened, parked
from tests.channels.web.test_hostile import EVIL, boxed
from tests.channels.web.test_in_a_browser import tab_of, violations


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
async def test_a_batch_is_decided_by_its_form(site: Site, browser: Any, *, scripts: bool) -> None:
    requests = await parked(site, 4)
    await opened(site, await site.visitor(ANN), requests)
    page = await site.tab(browser, ANN, java_script_enabled=scripts)
    await page.goto(f"/r/{requests[0].id}")
    await page.get_by_role("link", name="One of 4 that its agent proposed together").click()
    await page.get_by_role("link", name="Mark all: approve").click()
    await page.get_by_role("group", name="Refund 2").get_by_label("Reject").check()
    await page.get_by_role("group", name="Refund 3").get_by_label("Leave").check()
    late = await site.park("Refund 99", {"amount": 99})
    if scripts:
        await expect(page.get_by_text("1 more has come since")).to_be_visible()
    await page.get_by_label("Why are some rejected?").fill("not this one")
    await page.get_by_role("button", name="Send these answers").click()
    await expect(page.get_by_role("heading", name="Your answers")).to_be_visible()
    states = [(await site.store.requests.get(one.id)).state.value for one in (*requests, late)]
    assert states == ["approved", "rejected", "pending", "approved", "pending"]


async def test_a_batch_is_decided_by_the_keyboard_alone(site: Site, browser: Any) -> None:
    requests = await parked(site, 2)
    await opened(site, await site.visitor(ANN), requests)
    page, wrong = await tab_of(site, browser)
    await page.goto(f"/batch/{requests[0].id}")
    await page.get_by_role("group", name="Refund 1").get_by_label("Leave").focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Tab")
    while not await page.evaluate("document.activeElement.matches('form .go')"):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Your answers")).to_be_visible()
    assert [await site.state(one) for one in requests] == [RequestState.APPROVED, RequestState.PENDING]
    assert (wrong, await violations(page)) == ([], [])


async def test_nothing_that_an_agent_wrote_leaves_its_box_on_the_page_of_a_batch(site: Site, browser: Any) -> None:
    evil = " ".join(EVIL[:6])
    told: dict[str, Any] = {
        "agent": evil[:200],
        "client": evil,
        "tool": "t<b>",
        "server": "s<i>",
        "show": ("args.list", "args.n"),
    }
    origins = [Origin(stated=f"{evil} {n}", batch=evil[:80]) for n in range(2)]
    requests = [
        await site.park(f"Do {n} {evil}"[:600], {"list": EVIL[:7], "n": n, evil[:200]: evil}, origin=origin, **told)
        for n, origin in enumerate(origins)
    ]
    await opened(site, await site.visitor(ANN), requests)
    page, wrong = await tab_of(site, browser, viewport={"width": 390, "height": 844})
    await page.goto(f"/batch/{requests[0].id}")
    await expect(page.get_by_text("The agent calls this batch, unverified:")).to_be_visible()
    for details in await page.locator(".items details").all():
        await details.locator("summary").click()
    await boxed(page)
    await page.get_by_role("link", name="Mark all: approve").click()
    await page.get_by_role("button", name="Send these answers").click()
    await expect(page.get_by_role("heading", name="Your answers")).to_be_visible()
    await boxed(page)
    assert [await site.state(one) for one in requests] == [RequestState.APPROVED] * 2
    assert (wrong, await violations(page)) == ([], [])
