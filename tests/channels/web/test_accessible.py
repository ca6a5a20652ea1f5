"""Every page, light and dark, wide and on a phone: axe-core finds nothing, and nothing is wider than the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.domain.reviews import Verdict
from tests.channels.web.conftest import ANN, BO, Site
from tests.node.install import install

SIZES = {"wide": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 844}}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def axe() -> str:
    return (install().modules / "axe-core" / "axe.min.js").read_text()


async def some_requests(site: Site) -> dict[str, str]:
    """One request of each kind; returns the pages to look at, by name."""
    open_one = await site.park(asks=(("finance", 2), ("security", 1)), severity="critical", show=("args.amount", "args.customer"))
    hidden = await site.park("Write a file", {"path": "a\u202eb", "api_key": "sk-live-abcdefghijklmnopqrstuv"}, severity="low")
    own = await site.park("My own", {"n": 2}, owner=ANN, severity="medium")
    done = await site.park("Done", {"n": 3})
    ann = await site.visitor(ANN)
    await site.review(await site.visitor(BO), done, Verdict.REJECT, "credited before")
    await site.listed(ann, "Write a file")
    named = {"open": open_one, "hidden": hidden, "own": own, "done": done}
    pages = {name: f"/r/{request.id}" for name, request in named.items()}
    return pages | {
        "inbox": "/",
        "empty": "/?q=nothing",
        "account": "/account",
        "history": "/history",
        "health": "/health",
        "insights": "/insights",
        "missing": "/r/apr_0_x",
    }


@pytest.mark.parametrize(
    ("scheme", "size"),
    [
        ("light", "wide"),
        ("dark", "phone"),
        pytest.param("dark", "wide", marks=pytest.mark.slow),
        pytest.param("light", "phone", marks=pytest.mark.slow),
    ],
)
async def test_every_page_is_accessible_and_fits(site: Site, browser: Any, axe: str, scheme: str, size: str) -> None:
    pages = await some_requests(site)
    page = await site.tab(browser, ANN, color_scheme=scheme, viewport=SIZES[size], bypass_csp=True)
    found = {}
    for name, path in pages.items():
        await page.goto(path)
        if name == "open":
            await page.get_by_text("Reject…").click()
        found[name] = await looked_at(page, axe, SIZES[size]["width"])
    await page.context.clear_cookies()
    await page.goto("/sign-in")
    found["sign-in"] = await looked_at(page, axe, SIZES[size]["width"])
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


async def looked_at(page: Any, axe: str, width: int) -> list[str]:
    """Return what is wrong with the page as it stands."""
    await page.evaluate(axe)
    told = await page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", TAGS)
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
