"""What agents and servers write, in a real Chromium: nothing of it runs, asks for anything, or leaves its box."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
from playwright.async_api import expect

from broker.assets import shipped
from broker.domain.servers import Server, ToolDefinition
from broker.policy.load import load
from broker.registry.catalogue import Catalogue
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.store.open import Store
from tests.channels.web.conftest import PEOPLE, Policies, Site, served
from tests.channels.web.test_in_a_browser import tab_of, violations

EVIL = [
    "<script>alert(1)</script>\u202e",
    '"><img src=x onerror=alert(1)>',
    "<svg onload=alert(1)><a href=javascript:alert(1)>x</a></svg>",
    "{{7*7}} {% include 'frame.html' %} ${7*7}",
    '<div hx-get="/sign-out" hx-trigger="load" hx-nonce="x">x</div>',
    "</textarea></title></pre></code><form action=//evil.example><button>Approve</button></form>",
    "\x00\x1b[31m\u2066\u2028\ufeff\U000e0041",
    "A" * 5000,
]


async def test_nothing_that_an_agent_wrote_runs_asks_or_leaves_its_box(site: Site, browser: Any) -> None:
    deep: Any = EVIL[0]
    for _ in range(25):
        deep = [deep]
    evil = " ".join(EVIL[:6])
    arguments = {evil[:200]: evil, "list": EVIL, "deep": deep, "n": 2**53 - 1}
    told = {"agent": evil[:200], "client": evil, "stated": evil, "tool": "t<b>", "server": "s<i>", "rest": {"<u>": {"<s>": evil}}}
    request = await site.park(f"Do {evil}"[:600], arguments, show=("args.list",), **told)
    page, wrong = await tab_of(site, browser, viewport={"width": 390, "height": 844})
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    await page.goto(f"/r/{request.id}")
    await expect(page.locator("#request-title")).to_contain_text("<script>alert(1)</script>")
    await expect(page.locator(".p-hidden").first).to_have_text("\\u{202e}")
    await boxed(page)
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    for path in ("/?view=all", f"/history?q={request.id}"):
        await page.goto(path)
        await expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()
        await boxed(page)
    assert [url for url in asked if not url.startswith(site.url)] == []
    assert (wrong, await violations(page)) == ([], [])


async def boxed(page: Any) -> None:
    """Nothing of the corpus became an element, and nothing is wider than the screen."""
    found = await page.locator("#main script, #main img[src=x], #main svg[onload], #main b, #main i, #main u, #main s").all()
    assert [await one.evaluate("one => one.outerHTML") for one in found] == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390


class Hostile:
    """A catalogue of one server that writes the corpus wherever it may."""

    evil = " ".join(EVIL)

    def server(self, name: str) -> Server | None:
        return Server("s", command=(self.evil,)) if name == "s" else None

    def names(self) -> tuple[str, ...]:
        return ("s",)

    async def probe(self, server: str) -> Listing:
        fields = {
            self.evil[:300]: {"type": "string", "description": self.evil},
            "choice": {"enum": EVIL},
            "other": {"type": ["<b>"]},
        }
        schema = {"properties": fields, "required": [self.evil[:300]]}
        raw = {"name": "t", "title": self.evil, "description": self.evil, "inputSchema": schema}
        tools = (ToolDefinition("s", "t", raw), ToolDefinition("s", self.evil[:120], {"name": self.evil[:120]}))
        return Listing("s", tools, info={"name": self.evil})


async def test_nothing_that_a_server_wrote_runs_asks_or_leaves_its_box(store: Store, browser: Any) -> None:
    hostile, policies = Hostile(), Policies()
    servers = {"s": Server("s", command=(hostile.evil,))}
    policies.current = msgspec.structs.replace(load(shipped("policies")), servers=servers, people=PEOPLE)
    catalogue = Catalogue(hostile, hostile, Pins(store.servers))
    await catalogue.listing("s")
    async with served(store, policies=policies, offers=catalogue) as site:
        page, wrong = await tab_of(site, browser, viewport={"width": 390, "height": 844})
        asked: list[str] = []
        page.on("request", lambda sent: asked.append(sent.url))
        typed = urlencode({"server": "s", "tool": "t", f"arg.{hostile.evil[:300]}": hostile.evil})
        for path in ("/servers", "/servers/s", "/policies?server=s&tool=t", f"/policies?{typed}"):
            await page.goto(path)
            await boxed(page)
        await expect(page.get_by_text("<svg onload=alert(1)>").first).to_be_attached()
        assert [url for url in asked if not url.startswith(site.url)] == []
        assert ([text for text in wrong if "404" not in text], await violations(page)) == ([], [])
