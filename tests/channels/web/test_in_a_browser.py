"""The pages in a real Chromium: what people click and type, and what must never run."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import anyio
import pytest
from playwright.async_api import Error, expect

from broker.domain.requests import RequestState
from tests.channels.web.conftest import ANN, BO, Site
from tests.channels.web.scene import Scene, visit

expect.set_options(timeout=10_000)

WATCH = """
window.violations = [];
const told = (e) => window.violations.push(`${e.effectiveDirective} ${e.blockedURI} ${e.sample}`);
document.addEventListener("securitypolicyviolation", told);
"""


async def tab_of(site: Site, browser: Any, person: str = ANN, **context: Any) -> tuple[Any, list[str]]:
    """Return a signed-in tab, and everything that went wrong in it so far."""
    page = await site.tab(browser, person, **context)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    await page.add_init_script(WATCH)
    await page.reload()
    return page, wrong


async def violations(page: Any) -> list[str]:
    found: list[str] = await page.evaluate("window.violations")
    return found


async def test_a_request_appears_by_itself_and_is_approved_with_one_click(site: Site, browser: Any) -> None:
    page, wrong = await tab_of(site, browser)
    await expect(page.get_by_text("Nothing waits for you")).to_be_visible()
    request = await site.park()
    await page.get_by_role("link", name="Refund 900 EUR to Acme").click()
    await expect(page).to_have_title("(1) Refund 900 EUR to Acme · Approvals")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    await expect(page.get_by_text("Nothing waits for you")).to_have_count(0 if "r/" not in page.url else 1)
    assert await site.state(request) is RequestState.APPROVED
    assert (wrong, await violations(page)) == ([], [])


async def test_a_rejection_without_a_reason_is_held_back_then_told_to_the_agent(site: Site, browser: Any) -> None:
    request = await site.park()
    page, _ = await tab_of(site, browser)
    await page.goto(f"/r/{request.id}")
    await page.get_by_text("Reject…").click()
    await page.get_by_label("Why? The agent is told this.").fill("   ")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await expect(page.get_by_role("alert").filter(has_text="Say why")).to_be_visible()
    await page.get_by_role("button", name="Not needed").click()
    await page.get_by_role("button", name="Reject", exact=True).click()
    await expect(page.get_by_role("heading", name="Rejected")).to_be_visible()
    assert (await site.store.requests.get(request.id)).note == "Not needed"
    assert await violations(page) == []


async def test_two_tabs_the_second_follows_the_first_and_keeps_what_is_typed(site: Site, browser: Any) -> None:
    request, other = await site.park(), await site.park("Wire 5 to Zed", {"n": 2})
    first, _ = await tab_of(site, browser)
    second, wrong = await tab_of(site, browser, BO)
    await second.goto(f"/r/{other.id}")
    await second.get_by_text("Reject…").click()
    await second.get_by_label("Why? The agent is told this.").fill("half a sen")
    await first.goto(f"/r/{request.id}")
    await first.get_by_role("button", name="Approve", exact=True).click()
    await expect(second.get_by_role("link", name="Refund 900 EUR to Acme")).to_have_count(0)
    await expect(second.get_by_label("Why? The agent is told this.")).to_have_value("half a sen")
    assert wrong == []


async def test_what_one_types_survives_that_another_answers_the_same_request(site: Site, browser: Any) -> None:
    request = await site.park(asks=(("finance", 2),))
    page, wrong = await tab_of(site, browser)
    await page.goto(f"/r/{request.id}")
    await page.get_by_text("Reject…").click()
    await page.get_by_label("Why? The agent is told this.").fill("half a sen")
    await site.review(await site.visitor(BO), request, "approve")
    await expect(page.get_by_text("1 of 2 of finance")).to_be_visible()
    await expect(page.get_by_label("Why? The agent is told this.")).to_have_value("half a sen")
    await expect(page.get_by_role("button", name="Reject", exact=True)).to_be_visible()
    assert (wrong, await violations(page)) == ([], [])


async def test_who_looks_on_while_another_decides_is_told_and_has_no_button_left(site: Site, browser: Any) -> None:
    request = await site.park()
    page, _ = await tab_of(site, browser)
    await page.goto(f"/r/{request.id}")
    await expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    await site.review(await site.visitor(BO), request, "reject", "credited before")
    await expect(page.get_by_role("heading", name="Rejected")).to_be_visible()
    await expect(page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)


async def test_who_comes_too_late_can_read_so_for_as_long_as_they_look(site: Site, browser: Any) -> None:
    request = await site.park()
    await site.review(await site.visitor(BO), request, "approve")
    page, wrong = await tab_of(site, browser)
    await visit(page, Scene(f"/r/{request.id}/review", form={"verdict": "approve", "digest": request.digest}))
    await site.park("Wire 5 to Zed", {"n": 2})
    await expect(page.get_by_role("link", name="Wire 5 to Zed")).to_be_visible()
    await expect(page.get_by_text("Your answer was not counted.")).to_be_visible()
    assert [text for text in wrong if "409" not in text] == []


async def test_a_request_that_ends_while_one_looks_shows_its_end(site: Site, browser: Any) -> None:
    request = await site.park(timeout=timedelta(seconds=1))
    page, _ = await tab_of(site, browser)
    await page.goto(f"/r/{request.id}")
    with anyio.fail_after(10):
        while True:
            try:
                await site.store.requests.update(request.id, lambda r, now: r.expired(now))
                break
            except Exception:
                await anyio.sleep(0.05)
    await expect(page.get_by_role("heading", name="Expired")).to_be_visible()


async def test_two_people_complete_a_quorum(site: Site, browser: Any) -> None:
    request = await site.park(asks=(("finance", 2),))
    ann, _ = await tab_of(site, browser)
    bo, _ = await tab_of(site, browser, BO)
    for page in (ann, bo):
        await page.goto(f"/r/{request.id}")
    await ann.get_by_role("button", name="Approve", exact=True).click()
    await expect(bo.get_by_text("1 of 2 of finance")).to_be_visible()
    await bo.get_by_role("button", name="Approve", exact=True).click()
    await expect(ann.get_by_role("heading", name="Approved")).to_be_visible()


async def test_everything_works_with_the_keyboard_alone(site: Site, browser: Any) -> None:
    await site.park("First", {"n": 1}, severity="critical")
    second = await site.park("Second", {"n": 2}, severity="low")
    page, _ = await tab_of(site, browser)
    await expect(page.get_by_role("link", name="Second")).to_be_visible()
    await page.keyboard.press("j")
    await expect(page.get_by_role("heading", name="Second", level=1)).to_be_visible()
    await page.keyboard.press("a")
    await expect(page.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    assert await site.state(second) is RequestState.PENDING
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    await page.keyboard.press("k")
    await expect(page.get_by_role("heading", name="First", level=1)).to_be_visible()
    await page.keyboard.press("r")
    await page.keyboard.type("jk? not now")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Reject", exact=True)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Rejected")).to_be_visible()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_without_javascript_plain_forms_do_all_of_it(site: Site, browser: Any, verdict: str) -> None:
    request = await site.park()
    await site.listed(await site.visitor(ANN), "Refund 900")
    page = await site.tab(browser, ANN, java_script_enabled=False)
    await page.get_by_role("link", name="Refund 900 EUR to Acme").click()
    if verdict == "reject":
        await page.get_by_text("Reject…").click()
        await page.get_by_label("Why? The agent is told this.").fill("credited before")
        await page.get_by_role("button", name="Reject", exact=True).click()
    else:
        await page.get_by_role("button", name="Approve", exact=True).click()
    ended = {"approve": RequestState.APPROVED, "reject": RequestState.REJECTED}[verdict]
    await expect(page.get_by_role("heading", name=ended.value.capitalize())).to_be_visible()
    assert await site.state(request) is ended
    await page.locator(".menu summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(re.compile("/sign-in"))


async def test_markup_that_got_into_the_page_all_the_same_could_do_nothing(site: Site, browser: Any) -> None:
    page, _ = await tab_of(site, browser)
    with pytest.raises(Error, match="TrustedHTML"):
        await page.evaluate("document.body.innerHTML = '<img src=x onerror=alert(1)>'")


async def test_eight_tabs_load_and_all_follow(site: Site, browser: Any) -> None:
    first = await site.tab(browser, ANN)
    tabs = [first, *[await first.context.new_page() for _ in range(7)]]
    for page in tabs[1:]:
        await page.goto("/")
    await site.park()
    for page in tabs:
        await page.bring_to_front()
        await expect(page.get_by_role("link", name="Refund 900 EUR to Acme")).to_be_visible()


async def test_when_the_store_goes_away_open_pages_say_so_and_recover(
    site: Site, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, _ = await tab_of(site, browser)
    pulse = site.store.health
    monkeypatch.setattr(type(pulse), "up", property(lambda _: False))
    await expect(page.get_by_role("alert").filter(has_text="The store can't be reached")).to_be_visible()
    monkeypatch.undo()
    await expect(page.get_by_role("alert").filter(has_text="The store can't be reached")).to_have_count(0)
