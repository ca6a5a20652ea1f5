"""Somebody who has read nothing: from the demo's first line to a decision, by what is printed and shown alone."""

from __future__ import annotations

import re
import signal
import time

import anyio
import pytest

from tests.channels.web.conftest import CHROMIUM, FOUND
from tests.journeys.test_demo import PATIENCE, demo, lines_until


@pytest.mark.slow
@pytest.mark.skipif(not FOUND, reason="no Chromium here: apt-get install chromium")
async def test_from_the_demos_start_to_the_first_decision_it_takes_three_clicks_and_less_than_a_minute() -> None:
    from playwright.async_api import async_playwright, expect  # noqa: PLC0415 - only where there is a browser

    began = time.monotonic()
    with demo() as process:
        said = await anyio.to_thread.run_sync(lines_until, process, "The rules are in")
        links = dict(re.findall(r"^ +([12])\..*?(http\S+)$", said, re.MULTILINE))
        async with async_playwright() as drive:
            browser = await drive.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = await browser.new_page()
            await page.goto(links["1"])
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("button", name="Approve", exact=True).click()
            await expect(page.get_by_role("heading", name="Ran", exact=True)).to_be_visible()
            first = time.monotonic() - began
            await anyio.to_thread.run_sync(lines_until, process, "refund_create -> released")
            await page.goto(links["2"])
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_text("Reject…").click()
            await page.get_by_role("button", name="Not needed").click()
            await page.get_by_role("button", name="Reject", exact=True).click()
            await expect(page.get_by_role("heading", name="Rejected", exact=True)).to_be_visible()
            await anyio.to_thread.run_sync(lines_until, process, "All four calls have ended")
            await browser.close()
        process.send_signal(signal.SIGINT)  # which ends the store too: killed, the demo would leave it behind
        assert await anyio.to_thread.run_sync(process.wait, PATIENCE) == 0
    assert first < 60
