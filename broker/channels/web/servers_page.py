"""Servers: which there are, how each one is and who looked at it, what it offers, and what a caller may do with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from broker.channels.web.client_configs import snippets
from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.readers import base_of, reader_for
from broker.channels.web.registry_views import (
    STATES,
    Counts,
    Entry,
    chosen,
    declared_entry,
    enrolled_entry,
    reviews_of,
)
from broker.channels.web.server_use import usage_values
from broker.channels.web.server_views import Known, Whose, proposed, server_view, way_of
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.enrolment import Enrolment, Lifecycle
from broker.domain.servers import Server
from broker.domain.terms import Actor, Slot
from broker.errors import NotEnrolled, PolicyInvalid
from broker.policy.model import Policy
from broker.policy.ruleset import ruleset
from broker.registry.official import Reader, items_of
from broker.registry.pins import Pin
from broker.registry.ports import Listing
from broker.registry.reviewing import Sheet
from broker.registry.standing import stands

LONGEST = 400


class Place(msgspec.Struct, frozen=True):
    """One server of the catalogue: of files, or enrolled. `server` is None where no call may go."""

    local: str
    server: Server | None
    enrolment: Enrolment | None


@get("/servers", include_in_schema=False)
async def servers(request: AnyRequest) -> Response[str]:
    """Every server that the visitor may know of, searched and filtered."""
    web, who = Web.of(request), visitor(request)
    web.member(who)
    await web.parts.registry.roster.look()
    given = {name: request.query_params.get(name, "")[:LONGEST].strip() for name in ("q", "state", "health")}
    try:
        policy = web.parts.policies.current
    except PolicyInvalid:
        return web.page(request, "servers.html", policy=None, servers=(), given=given, states=STATES)
    entries = await entries_for(web, policy, reader_for(web, who.person, web.groups(who)))
    found = chosen(entries, given["q"], given["state"], given["health"])
    return web.page(
        request, "servers.html", policy=policy, servers=found, all=len(entries), given=given, states=STATES
    )  # fmt: skip


@get("/servers/{name:str}", include_in_schema=False)
async def server(request: AnyRequest, name: FromPath[str]) -> Response[str]:
    """One server. The address may name a caller: `user`, and `groups` in place of the person's own."""
    web, who = Web.of(request), visitor(request)
    web.member(who)
    await web.parts.registry.roster.look()
    policy, reader = web.parts.policies.current, reader_for(web, who.person, web.groups(who))
    place = places(web, policy, reader).get(name)
    if place is None:
        raise NotEnrolled("there is no such server")
    whose = _whose(request)
    values = await _values(web, policy, place, reader, whose)
    return web.page(
        request, "server.html", whose=whose, people=sorted(policy.people.persons), snippets=snippets(name, base_of(request)),
        states=STATES, slots=reviews_of({}), **values, **_rights(web, who, place),
    )  # fmt: skip


async def entries_for(web: Web, policy: Policy, reader: Reader) -> list[Entry]:
    """What is told of every server that a reader may know of."""
    pins = await _pins(web)
    return [_entry(web, place, reader, pins.get(name, {})) for name, place in places(web, policy, reader).items()]


def places(web: Web, policy: Policy, reader: Reader) -> Mapping[str, Place]:
    """The servers that a reader may know of, by local name. A name that files declare is theirs."""
    found = {name: Place(name, one, None) for name, one in policy.servers.items() if not one.enrolled}
    for enrolment in web.parts.registry.roster.enrolments.values():
        if enrolment.local not in found and items_of(enrolment, reader, "", None):
            found[enrolment.local] = Place(enrolment.local, enrolment.server(), enrolment)
    return found


def inside(place: Place, reader: Reader) -> bool:
    return place.enrolment is not None and reader.inside(place.enrolment.keeper.group)


async def _values(web: Web, policy: Policy, place: Place, reader: Reader, whose: Whose) -> dict[str, Any]:
    offers, registry = web.parts.offers, web.parts.registry
    near = inside(place, reader)
    sheet = await _sheet(web, place) if near else None
    entered = place.server if place.server is not None else Server(place.local, enrolled=True, groups={})
    pins = await web.parts.accepted.of(place.local)
    refused = await registry.accepting.refusals(place.local)
    known = Known(offers.last(place.local), offers.problem(place.local), pins, refused)
    judged = msgspec.structs.replace(policy, servers={**policy.servers, place.local: entered})
    view = server_view(judged, entered, known, whose, web.now())
    use, estimates = await usage_values(web, place.local)
    grant = place.enrolment.grant if place.enrolment is not None else None
    return {
        "widened": await registry.widenings.of(place.local), "use": use, "estimates": estimates,
        "entry": _entry(web, place, reader, pins), "view": view, "enrolment": place.enrolment, "inside": near, "sheet": sheet,
        "proposed": reviews_of(sheet.proposal.slots) if sheet else (), "offered": proposed(sheet.tools) if sheet else (),
        "granted": reviews_of(grant.slots) if grant else (),
        "way": way_of(entered) if place.enrolment is None or near else "", "server": entered,
        "gated": [tool for tool in view.tools if ruleset(policy).candidates(place.local, tool.name).asking],
    }  # fmt: skip


async def _sheet(web: Web, place: Place) -> Sheet | None:
    return await web.parts.registry.reviewing.sheet(place.enrolment) if place.enrolment is not None else None


def _rights(web: Web, who: SignedIn, place: Place) -> dict[str, Any]:
    """What the visitor may do here. The verbs judge it again."""
    by = Actor(who.person, web.groups(who))
    house, enrolment = web.parts.registry.enrolling.house, place.enrolment
    owns = enrolment is not None and enrolment.keeper.group in by.groups
    guards = bool(set(by.groups) & set(house.guards))
    mine = [slot for slot in Slot if set(by.groups) & set(house.reviewers.get(slot, ()))] if not owns else []
    moves = [
        move for move, state, may in (
            ("submit", (Lifecycle.EXPERIMENT,), owns), ("suspend", (Lifecycle.APPROVED,), owns or guards),
            ("resume", (Lifecycle.SUSPENDED,), guards and not owns),
            ("retire", tuple(one for one in Lifecycle if one is not Lifecycle.RETIRED), owns or guards),
        ) if may and enrolment is not None and enrolment.lifecycle in state
    ]  # fmt: skip
    objection = web.parts.registry.accepting.objection(place.local, by)
    return {"mine": [slot.value for slot in mine], "moves": moves, "objection": objection, "owns": owns}


async def _pins(web: Web) -> Mapping[str, Mapping[str, Pin]]:
    """Every pin, by server and tool."""
    found: dict[str, dict[str, Pin]] = {}
    for pin in await web.parts.accepted.every():
        found.setdefault(pin.server, {})[pin.tool] = pin
    return found


def _entry(web: Web, place: Place, reader: Reader, pins: Mapping[str, Pin]) -> Entry:
    offers = web.parts.offers
    live, problem = offers.live(place.local), offers.problem(place.local)
    counts = _counts(web, place, pins)
    if place.enrolment is not None:
        return enrolled_entry(place.enrolment, live, problem, counts, inside=inside(place, reader))
    assert place.server is not None, "what files declare is there"
    return declared_entry(place.server, live, problem, counts)


def _counts(web: Web, place: Place, pins: Mapping[str, Pin]) -> Counts:
    last = web.parts.offers.last(place.local)
    if last is None:
        return Counts(len(place.server.tools) if place.server is not None else 0)
    listing: Listing = last[0]
    listed = place.server.tools if place.server is not None and not place.server.enrolled else ()
    found = stands(listing, pins, listed)
    return Counts(len(listing.tools), sum(not stand.standing.known for stand in found))


def _whose(request: AnyRequest) -> Whose:
    asked = request.query_params
    groups = tuple(name.strip() for name in asked.get("groups", "")[:LONGEST].split(",") if name.strip())
    return Whose(asked.get("user", "")[:LONGEST].strip(), groups or None)


ROUTES = (servers, server)
