"""Every page, light and dark, wide and on a phone: axe-core finds nothing, and nothing is wider than the screen."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.store.open import Store
from tests.channels.web.conftest import ANN
from tests.channels.web.scenes import Scene, firm, in_trouble, visit
from tests.node.install import install

SIZES = {"wide": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 844}}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def axe() -> str:
    return (install().modules / "axe-core" / "axe.min.js").read_text()


WAYS = [(scheme, size) for scheme in ("light", "dark") for size in SIZES]


@pytest.mark.parametrize("ways", [1, pytest.param(len(WAYS), marks=pytest.mark.slow)])
async def test_every_page_in_every_state_is_accessible_and_fits(
    store: Store, tmp_path: Path, browser: Any, axe: str, ways: int
) -> None:
    """Each page in as many ways, taken in turns: light or dark, wide or on a phone."""
    found: dict[str, list[str]] = {}
    turns = itertools.cycle(WAYS)
    async with firm(store, tmp_path) as (site, scenes):
        tabs: dict[str, Any] = {}

        async def look_at(name: str, scene: Scene) -> None:
            if scene.person not in tabs:
                tabs[scene.person] = await site.tab(browser, scene.person, bypass_csp=True, reduced_motion="reduce")
            page = tabs[scene.person]
            await visit(site, page, scene)
            for scheme, size in itertools.islice(turns, ways):
                await page.set_viewport_size(SIZES[size])
                await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                found[f"{name}, {scheme}, {size}"] = await looked_at(page, axe, SIZES[size]["width"])

        for name, scene in scenes.items():
            await look_at(name, scene)
        async with in_trouble(site) as more:
            for name, scene in more.items():
                await look_at(name, scene)
        await tabs[ANN].context.clear_cookies()
        await look_at("sign-in", Scene("/sign-in", shows="Sign in"))
        await look_at("link", Scene(f"/sign-in/{await site.links.add(ANN)}", shows="Sign in as"))
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert len(found) == ways * (len(scenes) + 3)


LOOK = "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations'], preload: false})"


async def looked_at(page: Any, axe: str, width: int) -> list[str]:
    """Return what is wrong with the page as it stands."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe)
    told = await page.evaluate(LOOK, TAGS)
    wrong = [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in told["violations"] for node in rule["nodes"]]
    wide = await page.evaluate("document.documentElement.scrollWidth")
    return [*wrong, *([f"{wide} px wide"] if wide > width else [])]


async def test_what_is_vendored_is_what_its_hashes_say() -> None:
    folder = anyio.Path(Path(__file__).parents[3] / "templates" / "static" / "vendor")
    import hashlib  # noqa: PLC0415 - only here

    lines = [line.split("  ") for line in (await (folder / "SHA256SUMS").read_text()).splitlines()]
    told = {name: digest for digest, name in lines}
    are = {
        file.name: hashlib.sha256(await file.read_bytes()).hexdigest()
        async for file in folder.iterdir()
        if file.name not in ("SHA256SUMS", "README.md")
    }
    assert are == told
