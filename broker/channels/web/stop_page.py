"""The stop switch on the page about the broker's health. Whoever is in a group may stop; who stopped, or an observer, lifts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from litestar import post
from litestar.response import Redirect

from broker.approvals.stops import EVERYBODY, Stop, Stops, lifted, stopped
from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.visitors import AnyRequest, posted
from broker.errors import Forbidden, Malformed, UnknownRequest

LONGEST = 300
_BACK = "/health#stops"


class Shown(msgspec.Struct, frozen=True):
    """A stop as the page has it. `agent` is empty for the one of all; `lifts`: may whoever looks lift it?"""

    agent: str
    stop: Stop
    lifts: bool


async def shown(web: Web, who: SignedIn) -> Sequence[Shown]:
    """Return the stops in force, the oldest first. Raises `StoreUnavailable`."""
    found = await web.parts.stops.all() if web.parts.stops else ()
    return [Shown("" if stop.agent == EVERYBODY else stop.agent, stop, _lifts(web, who, stop)) for stop in found]


@post("/health/stops", status_code=200, include_in_schema=False)
async def stop(request: AnyRequest) -> Redirect:
    web, who, stops, form = await _asked(request)
    agent = EVERYBODY if form.get("whom") == "all" else form.get("agent", "").strip()
    if not agent or len(agent) > LONGEST:
        raise Malformed("name the agent that is to be stopped")
    made = Stop(agent, who.person, form.get("why", "").strip()[:LONGEST], web.now())
    await stops.stop(made)
    await web.parts.note(stopped(made))
    return Redirect(_BACK, status_code=303)


@post("/health/stops/lift", status_code=200, include_in_schema=False)
async def lift(request: AnyRequest) -> Redirect:
    web, who, stops, form = await _asked(request)
    agent = form.get("agent", "") or EVERYBODY
    held = next((one for one in await stops.all() if one.agent == agent), None)
    if held is not None and not _lifts(web, who, held):
        raise Forbidden("who stopped it lifts it, or an observer, or `broker stop --lift`")
    if await stops.lift(agent):
        await web.parts.note(lifted(agent, who.person, web.now()))
    return Redirect(_BACK, status_code=303)


async def _asked(request: AnyRequest) -> tuple[Web, SignedIn, Stops, dict[str, str]]:
    web = Web.of(request)
    who, form = await posted(request)
    web.member(who)
    if web.parts.stops is None:
        raise UnknownRequest("stops")
    return web, who, web.parts.stops, form


def _lifts(web: Web, who: SignedIn, stop: Stop) -> bool:
    return stop.by == who.person or bool(set(web.groups(who)) & set(web.parts.observers))


ROUTES = (stop, lift)
