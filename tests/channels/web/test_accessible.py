"""Every page, light and dark, wide and on a phone: axe-core finds nothing, and nothing is wider than the screen.

The templates are copied, so that those which no scene shows are told by what was never compiled.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.assets import shipped
from broker.store.open import Store
from tests.channels.web.scene import Scene, visit
from tests.channels.web.scenes import firm, in_trouble
from tests.node.install import install

SIZES = {"wide": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 844}}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def axe() -> str:
    return (install().modules / "axe-core" / "axe.min.js").read_text()


WAYS = [(scheme, size) for scheme in ("light", "dark") for size in SIZES]
# In the suite each template is looked at in one of its states, in turns; all of them in all ways are slow.
ONE_OF_EACH = (
    "refund", "answered together", "why", "account", "history", "tried",
    "rule replayed", "servers", "server widening", "enrol refused", "insights", "health", "missing", "sign in refused",
    "sign in with a link", "degraded",
)  # fmt: skip


@pytest.mark.parametrize("all_ways", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
async def test_every_page_is_accessible_and_fits(store: Store, tmp_path: Path, browser: Any, axe: str, all_ways: bool) -> None:
    found: dict[str, list[str]] = {}
    turns, templates = itertools.cycle(WAYS), tmp_path / "templates"
    shutil.copytree(shipped("templates"), templates)
    (tmp_path / "rules").mkdir()
    async with firm(store, tmp_path / "rules", templates=templates) as (site, scenes):
        tabs: dict[str, Any] = {}
        site.web.pages._environment.cache.clear()  # what was shown while the firm was set up is no scene

        async def look_at(chosen: dict[str, Scene]) -> None:
            for name, scene in chosen.items():
                if not all_ways and name not in ONE_OF_EACH:
                    continue
                if scene.person not in tabs:
                    tabs[scene.person] = await site.tab(browser, scene.person, bypass_csp=True, reduced_motion="reduce")
                page = tabs[scene.person]
                await visit(page, scene)
                for scheme, size in itertools.islice(turns, len(WAYS) if all_ways else 1):
                    await page.set_viewport_size(SIZES[size])
                    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                    found[f"{name}, {scheme}, {size}"] = await looked_at(page, axe, SIZES[size]["width"])

        await look_at(scenes)
        async with in_trouble(site) as more:
            await look_at(more)
        shown = {name for _, name in site.web.pages._environment.cache}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert len(found) == (len(WAYS) * len({**scenes, **more}) if all_ways else len(ONE_OF_EACH))
    assert {file.name for file in (templates / "web").glob("[!_]*.html")} - shown == set()


LOOK = "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations'], preload: false})"


async def looked_at(page: Any, axe: str, width: int) -> list[str]:
    """Return what is wrong with the page as it stands, with all that can be unfolded."""
    await page.evaluate("document.querySelectorAll('main details:not(.reject)').forEach(one => { one.open = true })")
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
