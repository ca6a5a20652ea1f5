"""Pages in every state of the firm, and a broker that goes away under an open page."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from playwright.async_api import expect

from broker.serving import listening
from broker.store.open import Store
from tests.channels.web.conftest import ANN, served
from tests.channels.web.scene import visit
from tests.channels.web.scenes import firm, in_trouble
from tests.channels.web.test_in_a_browser import WATCH


async def test_a_page_says_that_the_broker_is_away_and_goes_on_when_it_is_back(store: Store, browser: Any) -> None:
    async with AsyncExitStack() as first:
        site = await first.enter_async_context(served(store))
        page = await site.tab(browser, ANN)
        await page.clock.install()
        await page.reload()
        with anyio.fail_after(10):
            while not site.board_watchers():  # noqa: ASYNC110 - a stream that opens has no event here
                await anyio.sleep(0.01)
    away = page.get_by_role("alert").filter(has_text="The broker can't be reached")
    await page.clock.run_for(3_100)
    await expect(away).to_be_visible()
    async with served(store, listening("127.0.0.1", urlsplit(site.url).port or 0)) as again:
        await page.clock.run_for(5_000)
        await expect(away).to_be_hidden()
        await again.park()
        await page.clock.run_for(1_000)
        await expect(page.get_by_role("link", name="Refund 900 EUR to Acme")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scripts", [True, False])
async def test_no_page_in_any_state_breaks_its_own_security_policy_and_all_do_without_scripts(
    store: Store, tmp_path: Path, browser: Any, scripts: bool
) -> None:
    wrong: list[str] = []
    async with firm(store, tmp_path) as (site, scenes), in_trouble(site) as more:
        tabs: dict[str, Any] = {}
        for name, scene in {**scenes, **more}.items():
            if not scripts and scene.form:
                continue
            if scene.person not in tabs:
                tabs[scene.person] = await site.tab(browser, scene.person, java_script_enabled=scripts)
                await tabs[scene.person].add_init_script(WATCH)
                tabs[scene.person].on("pageerror", lambda error: wrong.append(str(error)))
            await visit(tabs[scene.person], scene)
            told = await tabs[scene.person].evaluate("window.violations") if scripts else []
            wrong.extend(f"{name}: {one}" for one in told)
    assert wrong == []
