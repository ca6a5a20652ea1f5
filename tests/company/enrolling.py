"""How a team brings a server of its own into the company's registry: published, reviewed, its tools accepted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2

from tests.company.bench import Bench
from tests.company.files import OLGA, SLOTS
from tests.company.toys import Toy, knowledge
from tests.fakes.server_json import server_json

READS = {"read_only": True, "destructive": False, "minutes_saved": 4}


def document(toy: Toy, **changed: Any) -> dict[str, Any]:
    """The server.json of a server like `knowledge`."""
    told = {"owner": "data-platform", "groups": ["ads-eng"], "tools": {"search": READS}, "url": toy.url, **changed}
    return server_json(f"com.example/{toy.name}", **told)


@asynccontextmanager
async def another(bench: Bench, name: str) -> AsyncIterator[Toy]:
    """Run one more server like `knowledge`."""
    toy = knowledge(bench.folder, name)
    async with toy.served():
        yield toy


async def published(bench: Bench, toy: Toy, who: str = OLGA, **changed: Any) -> httpx2.Response:
    return await bench.api(who, "POST", "/v0.1/publish", document(toy, **changed))


async def submitted(bench: Bench, name: str) -> None:
    answer = await bench.api(OLGA, "POST", f"/api/v1/servers/com.example/{name}/submit", {})
    assert answer.status_code == 200, answer.text


async def review(bench: Bench, name: str, slot: str, who: str = "", **said: Any) -> httpx2.Response:
    """Answer for one slot, on what is shown now."""
    who, path = who or f"{slot}@example.com", f"/api/v1/servers/com.example/{name}"
    shown = (await bench.api(f"{slot}@example.com", "GET", path)).json()["shown"]
    told = {"slot": slot, "state": "approved", "digest": shown["digest"] if shown else "", **said}
    return await bench.api(who, "POST", f"{path}/reviews", told)


async def enrolled(bench: Bench, toy: Toy, **changed: Any) -> None:
    """Publish a server and have it reviewed."""
    answer = await published(bench, toy, **changed)
    assert answer.status_code == 200, answer.text
    await submitted(bench, toy.name)
    for slot in SLOTS:
        answer = await review(bench, toy.name, slot)
        assert answer.status_code == 200, answer.text


async def pressed(page: httpx2.AsyncClient, path: str, form: dict[str, str], at: str = "") -> httpx2.Response:
    """Send a form of a page as a browser does, with the page's own token; `at` is where the form goes, if not to the page."""
    token = re.search(r'name="csrf" value="([^"]+)"', (await page.get(path)).text)
    assert token is not None, path
    return await page.post(at or path, data={**form, "csrf": token[1]}, headers={"origin": str(page.base_url).rstrip("/")})


async def accepted(bench: Bench, name: str, tool: str, who: str = OLGA) -> None:
    """Accept a tool of a server on its page, as it is shown there."""
    async with bench.visitor(who) as page:
        with anyio.fail_after(10):
            while not (found := _digest((await page.get(f"/servers/{name}")).text, tool)):  # noqa: ASYNC110 it is asked soon
                await anyio.sleep(0.05)
        form = {"tool": tool, "digest": found, "verdict": "accept"}
        answer = await pressed(page, f"/servers/{name}", form, f"/servers/{name}/tools")
        assert answer.status_code == 303, answer.text


def _digest(page: str, tool: str) -> str:
    forms = re.findall(r"<form.*?</form>", page, re.DOTALL)
    mine = (form for form in forms if f'name="tool" value="{tool}"' in form)
    return next((found[1] for form in mine if (found := re.search(r'name="digest" value="([^"]+)"', form))), "")


async def until_listed(bench: Bench, token: str, server: str, tool: str = "search", *, shown: bool = True) -> None:
    """Wait until a caller is shown a tool, or is not any more: brokers learn of changes within a moment."""
    with anyio.fail_after(10):
        while (tool in await _shown(bench, token, server)) is not shown:  # noqa: ASYNC110 - a list has no event
            await anyio.sleep(0.05)


async def _shown(bench: Bench, token: str, server: str) -> set[str]:
    try:
        return await bench.listed(token, server)
    except KeyError:  # the server is closed to this caller
        return set()
