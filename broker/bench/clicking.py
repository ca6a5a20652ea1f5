"""From a click to what another tab shows, and eight tabs at once, in Chromium by Playwright, where both are installed.

python -m broker.bench.clicking < order.json > clicked.json
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from broker.bench import parking
from broker.bench.load import quantile

CHROMIUM = Path(os.environ.get("BROKER_TEST_CHROMIUM", "/usr/bin/chromium"))
TABS = 8
# Seconds between two clicks: nobody reads a request in less. (A list asks for its rows at most five times a second.)
READING = 0.5
PATIENCE = 20_000
# Both tabs read one clock: the time of the page's origin and what went by since.
_NOW = "performance.timeOrigin + performance.now()"
CLICKED = f"addEventListener('click', () => sessionStorage.setItem('clicked', {_NOW}), true)"
GONE = """(row) => { window.gone = new Promise((tell) => {
  const look = () => { if (!document.getElementById(row)) tell(NOW); };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}); return Boolean(document.getElementById(row)); }""".replace("NOW", _NOW)


class Order(msgspec.Struct, frozen=True):
    """`links` sign two browsers in; `parked` is who calls, and how many clicks there are."""

    parked: parking.Order
    links: tuple[str, str]


class Clicked(msgspec.Struct, frozen=True):
    """Times in ms from the click on Approve until the row had gone from the list in another browser's tab.

    `tabs` of eight in one browser showed a new request; `tabs_took` seconds after it was parked, each brought to the front.
    """

    clicks: int
    p50: float
    p95: float
    tabs: int = 0
    tabs_took: float = 0.0
    missing: str = ""


async def run(order: Order) -> Clicked:
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - only where it is installed
    except ImportError:
        return Clicked(0, 0.0, 0.0, missing="Playwright is not installed")
    if not CHROMIUM.exists():  # noqa: ASYNC240 - nothing else runs yet
        return Clicked(0, 0.0, 0.0, missing="there is no Chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            return await _clicked(order, browser)
        finally:
            await browser.close()


async def _clicked(order: Order, browser: Any) -> Clicked:
    callers = parking.Callers(order.parked)
    await callers.open()
    waiting = await parking.Reviewers(order.parked).pending()
    first, second = [await _tab(browser, order.parked.port, link) for link in order.links]
    took = sorted([await _click(first, second, one.id) for one in waiting])
    for _ in waiting:
        await callers.next()
    callers.close()
    tabs, tabs_took = await _tabs(order, second)
    return Clicked(len(took), quantile(took, 0.5), quantile(took, 0.95), tabs, tabs_took)


async def _tab(browser: Any, port: int, link: str) -> Any:
    profile = await browser.new_context(base_url=f"http://127.0.0.1:{port}")
    page = await profile.new_page()
    await page.add_init_script(CLICKED)
    await page.goto(f"/sign-in/{link}")
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/")
    return page


async def _click(first: Any, second: Any, request_id: str) -> float:
    await first.goto(f"/r/{request_id}")
    row = f"row-{request_id}"
    await asyncio.sleep(READING)
    await second.locator(f"#{row}").wait_for(state="attached", timeout=PATIENCE)
    if not await second.evaluate(GONE, row):
        raise ConnectionError("the other tab does not list the request")
    await first.get_by_role("button", name="Approve", exact=True).click()
    gone = await second.evaluate("window.gone")
    return float(gone) - float(await first.evaluate('sessionStorage.getItem("clicked")'))


async def _tabs(order: Order, page: Any) -> tuple[int, float]:
    """Open tabs in one browser, park a call, and count those that show it."""
    tabs = [page, *[await page.context.new_page() for _ in range(TABS - 1)]]
    for tab in tabs[1:]:
        await tab.goto("/", timeout=PATIENCE)
    callers = parking.Callers(msgspec.structs.replace(order.parked, count=1))
    await callers.open()
    begin = perf_counter()
    for tab in tabs:
        await tab.bring_to_front()
        await tab.locator("a.row").first.wait_for(timeout=PATIENCE)
    callers.close()
    return len(tabs), perf_counter() - begin


if __name__ == "__main__":
    clicked = asyncio.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(clicked))
