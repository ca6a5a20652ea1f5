"""Answers that come after somebody has moved on: the Approve button is always that of the request which they chose last."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
from playwright.async_api import Error, expect

from broker.domain.requests import ApprovalRequest, RequestState
from tests.channels.web.conftest import ANN, BO, Site

DRAWN = "new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done))))"


class Held:
    """One answer of the broker that is kept back until it is let go."""

    def __init__(self, page: Any, path: str) -> None:
        self.asked, self.ended = anyio.Event(), anyio.Event()
        self._page = page
        self._path = path
        self._free = anyio.Event()

    async def begin(self) -> None:
        for end in ("requestfinished", "requestfailed"):
            self._page.on(end, lambda request: self.ended.set() if request.url.endswith(self._path) else None)
        await self._page.route(f"**{self._path}", self._late)

    async def _late(self, route: Any) -> None:
        self.asked.set()
        await self._free.wait()
        with suppress(Error):  # the page may have given it up
            await route.continue_()

    async def let_go(self) -> None:
        """Return when the page has drawn what it made of it."""
        self._free.set()
        await self.ended.wait()
        await self._page.evaluate(
            "new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
        )


async def opened(site: Site, browser: Any) -> tuple[Any, list[ApprovalRequest]]:
    asks = {"First": (("finance", 2),), "Second": (("finance", 1),), "Third": (("finance", 1),)}
    requests = [await site.park(name, {"name": name}, asks=asks[name]) for name in asks]
    page = await site.tab(browser, ANN)
    await page.goto(f"/r/{requests[0].id}")
    await expect(page.get_by_role("link", name="Third")).to_be_visible()
    return page, requests


async def chosen(page: Any, name: str) -> None:
    await page.locator(".rows .row", has_text=name).click()
    await expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()


async def approved(page: Any, name: str, request: ApprovalRequest) -> None:
    await expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
    assert page.url.rpartition("/")[2] == request.id
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()


async def test_a_late_look_at_what_changed_does_not_take_the_place_of_what_was_chosen_since(site: Site, browser: Any) -> None:
    page, (first, second, _) = await opened(site, browser)
    look = Held(page, f"/r/{first.id}")
    await look.begin()
    with anyio.fail_after(20):
        await site.review(await site.visitor(BO), first, "approve")
        await look.asked.wait()
        await chosen(page, "Second")
        await page.keyboard.press("a")
        await look.let_go()
    await approved(page, "Second", second)
    assert [await site.state(one) for one in (first, second)] == [RequestState.PENDING, RequestState.APPROVED]


async def test_of_two_choices_the_later_one_stays_whichever_answer_comes_first(site: Site, browser: Any) -> None:
    page, (_, second, third) = await opened(site, browser)
    choice = Held(page, f"/r/{second.id}")
    await choice.begin()
    with anyio.fail_after(20):
        await page.locator(".rows .row", has_text="Second").click()
        await choice.asked.wait()
        await chosen(page, "Third")
        await page.keyboard.press("a")
        await choice.let_go()
    await approved(page, "Third", third)
    assert [await site.state(one) for one in (second, third)] == [RequestState.PENDING, RequestState.APPROVED]
