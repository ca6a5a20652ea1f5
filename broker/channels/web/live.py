"""Live updates: tiny named events, no content. Whoever hears one asks for the page again, and is judged again then."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from litestar import Response, get
from litestar.response import Stream

from broker.channels.web.board import Looked, Told
from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.standing import sees
from broker.channels.web.visitors import AnyRequest, visitor
from broker.errors import StoreUnavailable

BEAT = 2.0
BEATS_TO_KEEP_ALIVE = 7


@get("/live", include_in_schema=False)
async def live(request: AnyRequest) -> Stream:
    """Named events: `inbox` (a list may differ), `request` (data: the id of what moved), `looking` (data: the id of a request
    at which other people look now), `health` (the store went or came)."""
    return Stream(_events(Web.of(request), visitor(request)), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@get("/health/banner", opt={"anonymous": True}, include_in_schema=False)
async def health_banner(request: AnyRequest) -> Response[str]:
    """What is wrong with the broker, for pages that are open while it happens. For everybody: it names nobody and no call."""
    web = Web.of(request)
    return web.page(request, "_health.html", up=web.parts.health.up, degraded=web.watchman.told)


def _state(web: Web) -> tuple[bool, tuple[str, ...]]:
    return web.parts.health.up, web.watchman.told


def event(name: str, data: str = "1") -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


async def _events(web: Web, who: SignedIn) -> AsyncIterator[bytes]:
    """End when the broker stops, or the session is over: an open stream must not outlive a sign-out."""
    state, beats = _state(web), 0
    with web.board.watch() as rows:
        yield b"retry: 1000\n" + event("inbox") + (b"" if state == (True, ()) else event("health"))
        while True:
            try:
                news = await next_news(rows)
            except anyio.EndOfStream:
                return
            if news is not None:
                yield _told(web, who, news)
            if _state(web) != state:
                state = _state(web)
                yield event("health") + event("inbox")
            beats = beats + 1 if news is None else beats
            if beats >= BEATS_TO_KEEP_ALIVE:
                if not await _still(web, who):
                    return
                beats = 0
                yield b": still here\n\n"


async def next_news(rows: MemoryObjectReceiveStream[Told]) -> Told | None:
    """Return what moved or is looked at next, None after a beat without. Raises `anyio.EndOfStream` when the broker stops."""
    with anyio.move_on_after(BEAT):
        return await rows.receive()
    return None


def _told(web: Web, who: SignedIn, news: Told) -> bytes:
    row = news.row if isinstance(news, Looked) else news
    if not sees(row.people, row.groups, row.reviewers, who.person, web.groups(who), web.parts.observers):
        return b""
    return event("looking", row.id) if isinstance(news, Looked) else event("inbox") + event("request", row.id)


async def _still(web: Web, who: SignedIn) -> bool:
    try:
        return await web.parts.sessions.find(who.secret) is not None
    except StoreUnavailable:
        return True


ROUTES = (live, health_banner)
