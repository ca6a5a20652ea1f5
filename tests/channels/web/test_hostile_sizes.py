"""What is hostile by its size, in a real Chromium: the largest calls, tools of 10 MB. Pages stay small; the whole is a file."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import anyio
import msgspec
import pytest
from playwright.async_api import expect

from broker.assets import shipped
from broker.channels.web.arguments import COLOURED, Laid
from broker.channels.web.excerpts import HEAD, TAIL, WHOLE, excerpt, too_large
from broker.channels.web.views import is_cut, laid
from broker.domain.redaction import shown, shown_call
from broker.domain.requests import RequestState
from broker.domain.servers import Server, ToolDefinition
from broker.policy.load import load
from broker.registry.catalogue import Catalogue
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.store.open import Store
from tests.channels.web.conftest import ANN, PEOPLE, Policies, Site, served
from tests.channels.web.test_hostile import EVIL, boxed
from tests.channels.web.test_in_a_browser import tab_of, violations
from tests.fakes.steps import steps, turns

EVERYTHING = " ".join(EVIL[:6])
TEN_MB = EVERYTHING * (10_000_000 // len(EVERYTHING))
LARGEST_PAGE = 1_000_000


def nested(depth: int) -> Any:
    value: Any = EVERYTHING
    for _ in range(depth):
        value = [value]
    return value


CALLS: dict[str, dict[str, Any]] = {
    "markup": {"html": EVERYTHING * 3_000},
    "unseen": {"text": "x\u202e" * 250_000},
    "numbers": {"list": [1] * 400_000},
    "names": {f"<b>{number}": number for number in range(40_000)},
    "lists": {"list": [nested(20)] * 200},
    "empty lists": {"list": [[[[[[[[[[[[]]]]]]]]]]]] * 2_000},
    "deep": {"deep": nested(60), "html": EVERYTHING * 2_000},
}


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("markup", "names")]


@pytest.mark.parametrize("kind", ["deep", "unseen", *SLOW])
async def test_the_largest_calls_are_shown_by_head_and_tail_and_nothing_in_them_runs(site: Site, browser: Any, kind: str) -> None:
    request = await site.park(f"Do {EVERYTHING}"[:300], CALLS[kind], show=("args.html",), stated=EVERYTHING * 20)
    page, wrong = await tab_of(site, browser, viewport={"width": 390, "height": 844})
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    answer = await page.goto(f"/r/{request.id}")
    assert len(await answer.body()) < LARGEST_PAGE
    await expect(page.get_by_text("left out here").first).to_be_visible()
    await boxed(page)
    drawn = await page.evaluate(TWO_FRAMES)
    assert drawn < 2_000, f"{drawn} ms for two frames"
    assert [url for url in asked if not url.startswith(site.url)] == []
    assert (wrong, await violations(page)) == ([], [])


# Milliseconds until the page has laid itself out anew and drawn twice.
TWO_FRAMES = """() => new Promise((done) => {
  document.body.style.setProperty("padding-right", "1px");
  const began = performance.now();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})"""


async def test_what_a_page_cuts_is_approved_by_who_says_they_read_the_whole_file(site: Site, browser: Any) -> None:
    request = await site.park(arguments=CALLS["markup"])
    page, _ = await tab_of(site, browser)
    await page.goto(f"/r/{request.id}")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("alert").filter(has_text="The page shows only heads and tails")).to_be_visible()
    assert await site.state(request) is RequestState.PENDING
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download the whole call").click()
    download = await started.value
    whole = await anyio.Path(await download.path()).read_bytes()
    assert f"sha256:{hashlib.sha256(whole).hexdigest()}" == request.digest
    assert json.loads(whole)["arguments"] == CALLS["markup"]
    await page.get_by_label("I have read the whole call").check()
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()


async def test_the_file_of_a_call_covers_what_the_page_covers_and_is_never_drawn_as_a_page(site: Site) -> None:
    request = await site.park(arguments={"api_key": "sk-live-abcdefghijklmnopqrstuv", "html": EVERYTHING})
    answer = await (await site.visitor(ANN)).get(f"/r/{request.id}/call")
    assert "sk-live" not in answer.text
    assert answer.json()["arguments"]["html"] == EVERYTHING
    assert {name: answer.headers[name] for name in ("content-type", "content-disposition", "x-content-type-options")} == {
        "content-type": "application/json", "content-disposition": f'attachment; filename="{request.id}.json"',
        "x-content-type-options": "nosniff",
    }  # fmt: skip


@pytest.mark.parametrize("kind", CALLS)
def test_heads_and_tails_say_how_much_is_left_out(kind: str) -> None:
    assert too_large(CALLS[kind])
    laid = excerpt(shown(CALLS[kind], (), b"k" * 32).arguments)
    letters = sum(len(piece.text) for row in laid.rows for piece in (*row.name, *row.pieces) if piece.kind != "hidden")
    assert laid.cut
    assert letters < 2 * WHOLE
    assert len(laid.rows) <= HEAD + TAIL + 1
    assert any(piece.kind == "gap" for row in laid.rows for piece in (*row.name, *row.pieces))


@pytest.mark.parametrize("many", [[1] * 4_001, [1] * 12_000, [1] * 32_000, [{"a": ""}] * 10_000, ["a", {"b": [[]]}] * 6_000])
def test_a_page_is_made_of_few_pieces_and_steps_however_many_members_a_call_has(many: list[Any]) -> None:
    call = shown({"list": many}, (), b"k" * 32)
    made: list[Laid] = []
    assert steps(lambda: made.append(laid(call.arguments, call.masked, "args"))) < 20 * COLOURED
    assert sum(len(row.pieces) for row in made[0].rows) < 4 * COLOURED
    assert made[0].cut == is_cut(call) == too_large(call.arguments)


async def test_between_two_large_calls_of_a_list_everybody_else_has_a_turn(site: Site) -> None:
    calls = [await site.park(arguments={"list": [{"a": f"{number} {one}"} for one in range(2_000)]}) for number in range(8)]
    ann, api = await site.visitor(ANN), await site.api(ANN)
    await site.web.projection.put(calls, 0)
    await ann.get("/history")
    once = steps(lambda: shown_call(calls[0].call, calls[0].plan, b"k" * 32))
    async with turns() as counts:
        assert len((await api.get("/api/v1/requests")).json()["requests"]) == 8
        assert (await ann.get("/history")).text.count("/r/") >= 8
        site.web.board._rows.clear()
        await site.web.board.load()
        await site.web.projection.put(calls, 0)
    assert len(site.web.board.rows()) == 8
    assert max(counts) < 2.5 * once, (max(counts), once)


async def test_a_result_of_ten_megabytes_shows_on_no_page(site: Site) -> None:
    ann, request = await site.visitor(ANN), await site.park()
    await site.review(ann, request, "approve")
    update, lease = site.store.requests.update, timedelta(minutes=1)
    await update(request.id, lambda held, now: held.claimed("b", "n", now, lease=lease, policy=held.policy, definition=""))
    answer = msgspec.json.encode({"result": {"content": [{"type": "text", "text": TEN_MB}], "structuredContent": {"x": TEN_MB}}})
    await update(request.id, lambda held, now: held.completed(1, now, answer, "sha256:1"))
    for path in (f"/r/{request.id}", "/?view=all", f"/history?q={request.id}"):
        page = await ann.get(path)
        assert len(page.content) < 100_000
        assert "alert(1)" not in page.text


class Giant:
    """A catalogue of one server whose tool has so many characters in every place that a server writes."""

    def __init__(self, size: int) -> None:
        self._text = TEN_MB[:size]

    def server(self, name: str) -> Server | None:
        return Server("s", command=("x",)) if name == "s" else None

    def names(self) -> tuple[str, ...]:
        return ("s",)

    async def probe(self, server: str) -> Listing:
        text = self._text
        schema = {"properties": {"a": {"type": "string", "description": text}, text[:50_000]: {"enum": [text]}}}
        raw = {"name": "t", "title": text, "description": text, "inputSchema": schema, "annotations": {"title": text}}
        return Listing("s", (ToolDefinition("s", "t", raw),), info={"name": text, "version": text})


@pytest.mark.parametrize("size", [500_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
async def test_a_giant_tool_leaves_every_page_small_and_runs_nothing(store: Store, browser: Any, size: int) -> None:
    giant, policies = Giant(size), Policies()
    policies.current = msgspec.structs.replace(
        load(shipped("policies")), servers={"s": Server("s", command=("x",))}, people=PEOPLE
    )
    catalogue = Catalogue(giant, giant, Pins(store.servers))
    await catalogue.listing("s")
    async with served(store, policies=policies, offers=catalogue) as site:
        request = await site.park(server="s", tool="t", arguments={"a": "b"})
        page, wrong = await tab_of(site, browser, viewport={"width": 390, "height": 844})
        asked: list[str] = []
        page.on("request", lambda sent: asked.append(sent.url))
        tried = f"/policies?{urlencode({'server': 's', 'tool': 't'})}"
        for path in ("/servers", "/servers/s", tried, f"/r/{request.id}", f"/r/{request.id}/why"):
            answer = await page.goto(path)
            assert (path, answer.status, len(await answer.body()) < 1_000_000) == (path, 200, True)
            await boxed(page)
        await expect(page.get_by_text("are left out here").first).to_be_visible()
        assert [url for url in asked if not url.startswith(site.url)] == []
        assert ([text for text in wrong if "404" not in text], await violations(page)) == ([], [])
