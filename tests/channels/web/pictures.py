"""Draws every page in every state, for people to look at: `python -m tests.channels.web.pictures FOLDER [PART OF A NAME …]`.

Each is drawn light and dark, wide and as on a phone. With `--readme` the four of the README are written beside this file.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
from playwright.async_api import async_playwright

from broker.store.embedded import Embedded
from broker.store.open import open_store
from tests.channels.web.conftest import CHROMIUM, Site
from tests.channels.web.scene import Scene, visit
from tests.channels.web.scenes import firm, in_trouble

SIZES = {"wide": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 844}}
# name: the scene, its colours, the size of the window, and the part of the page (all of the window if empty)
README = {
    "inbox": ("refund", "light", {"width": 1040, "height": 610}, ""),
    "phone": ("sql", "dark", SIZES["phone"], ""),
    "rule": ("rule replayed", "light", {"width": 900, "height": 1900}, "#report"),
    "insights": ("insights", "dark", {"width": 900, "height": 700}, ""),
}
HERE = Path(__file__).parent


async def draw(site: Site, browser: Any, scenes: dict[str, Scene], folder: Path) -> None:
    for scheme in ("light", "dark"):
        for size, viewport in SIZES.items():
            tabs: dict[str, Any] = {}
            for name, scene in scenes.items():
                if scene.person not in tabs:
                    tabs[scene.person] = await site.tab(browser, scene.person, color_scheme=scheme, viewport=viewport)
                await visit(tabs[scene.person], scene)
                await tabs[scene.person].evaluate("scrollTo(0, 0)")
                await tabs[scene.person].screenshot(path=folder / f"{name.replace(' ', '-')}.{scheme}.{size}.png", full_page=True)


async def draw_for_readme(site: Site, browser: Any, scenes: dict[str, Scene]) -> None:
    for name, (scene, scheme, size, part) in README.items():
        tab = await site.tab(browser, scenes[scene].person, color_scheme=scheme, viewport=size)
        await visit(tab, scenes[scene])
        await (tab.locator(part) if part else tab).screenshot(path=HERE / f"{name}.png")


async def main(folder: Path, wanted: list[str], *, readme: bool) -> None:
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as rooms:
        home = Path(rooms.enter_context(tempfile.TemporaryDirectory(prefix="pictures-")))
        embedded = Embedded(home / "store")
        await embedded.start()
        rooms.push_async_callback(embedded.stop)
        store = await rooms.enter_async_context(open_store(embedded.url, data=home / "data", broker_id="broker-1"))
        (home / "rules").mkdir()
        site, scenes = await rooms.enter_async_context(firm(store, home / "rules"))
        drive = await rooms.enter_async_context(async_playwright())
        browser = await drive.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        if readme:
            await draw_for_readme(site, browser, scenes)
            return
        await draw(
            site, browser, {name: scene for name, scene in scenes.items() if not wanted or any(w in name for w in wanted)}, folder
        )
        if not wanted or "degraded" in wanted:
            async with in_trouble(site) as more:
                await draw(site, browser, more, folder)
        await browser.close()


if __name__ == "__main__":
    named = [word for word in sys.argv[1:] if not word.startswith("--")]
    anyio.run(lambda: main(Path(named[0]) if named else HERE, named[1:], readme="--readme" in sys.argv))
