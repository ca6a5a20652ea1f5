"""The registry's own verbs by the API: reviews and states.

What a server's people and reviewers see of it is in `/v0.1`; here they move it. Every verb is bound to what its caller was shown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from broker.channels.web.api import authenticated
from broker.channels.web.parts import Web
from broker.channels.web.readers import actor_of, reader_of
from broker.channels.web.visitors import AnyRequest
from broker.domain.enrolment import Enrolment
from broker.domain.terms import Actor
from broker.errors import Malformed, NotEnrolled
from broker.policy.widening import Widening
from broker.registry.reviewing import Sheet

_OPEN: dict[str, Any] = {"anonymous": True}
_ONE = "/api/v1/servers/{space:str}/{name:str}"


class Tool(msgspec.Struct, frozen=True):
    """A tool as the version under review offers it: `standing` against what was accepted, `changes` in words."""

    name: str
    standing: str
    description: str
    changes: list[str]


class Shown(msgspec.Struct, frozen=True):
    """What waits for reviews. `address` is where calls would go, `digest` binds an answer, `widens` says whose access grows."""

    version: str
    by: str
    at: datetime
    reviews: dict[str, Any]
    terms: dict[str, Any]
    before: dict[str, Any]
    address: str
    tools: list[Tool]
    widens: str
    groups: list[str]
    people: list[str]
    digest: str
    problem: str


class Told(msgspec.Struct, frozen=True):
    """One enrolled server for its people and reviewers. `shown` is None where nothing waits for reviews."""

    name: str
    lifecycle: str
    owner: str
    versions: list[str]
    live: str
    until: datetime | None
    number: int
    shown: Shown | None


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`slot` is security, legal_privacy or genai, `state` approved, rejected or n/a; the last two need a reason."""

    slot: str
    state: str
    digest: str
    reason: str = ""
    ticket: str = ""


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str = ""


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str = ""


@get(_ONE, opt=_OPEN, tags=["registry"])
async def show(request: AnyRequest, space: FromPath[str], name: FromPath[str]) -> Told:
    """Show a server with what waits for reviews. For its people and reviewers; for others there is none."""
    reader = await reader_of(request)
    return await _told(request, await _inside(request, f"{space}/{name}", reader.inside))


@post(f"{_ONE}/reviews", status_code=200, guards=[authenticated], opt=_OPEN, tags=["registry"])
async def review(request: AnyRequest, space: FromPath[str], name: FromPath[str], data: JSONBody[Answer]) -> Told:
    """Answer for one slot. 409 says that what was shown has changed."""
    by, web = await actor_of(request, "review"), Web.of(request)
    after = await web.parts.registry.reviewing.review(
        f"{space}/{name}", data.slot, data.state, by, shown=data.digest, reason=data.reason, ticket=data.ticket
    )
    return await _told(request, after)


@post(f"{_ONE}/submit", status_code=200, guards=[authenticated], opt=_OPEN, tags=["registry"])
async def submit(request: AnyRequest, space: FromPath[str], name: FromPath[str], data: JSONBody[Ask]) -> Told:
    """Ask for the reviews of a version, the last if none is named."""
    by = await actor_of(request, "servers")
    return await _told(request, await Web.of(request).parts.registry.enrolling.submit(f"{space}/{name}", by, data.version))


@post(f"{_ONE}/{{move:str}}", status_code=200, guards=[authenticated], opt=_OPEN, tags=["registry"])
async def moved(
    request: AnyRequest, space: FromPath[str], name: FromPath[str], move: FromPath[str], data: JSONBody[Why]
) -> Told:  # fmt: skip
    """`suspend`, `resume` or `retire` a server."""
    by = await actor_of(request, "servers")
    return await _told(request, await move_server(Web.of(request), move, f"{space}/{name}", by, data.why))


async def move_server(web: Web, move: str, name: str, by: Actor, why: str) -> Enrolment:
    """Raises `Malformed` for another word, and what the move raises."""
    enrolling = web.parts.registry.enrolling
    verb = {"suspend": enrolling.suspend, "resume": enrolling.resume, "retire": enrolling.retire}.get(move)
    if verb is None:
        raise Malformed("a server can be submitted, suspended, resumed and retired")
    return await verb(name, by, why[:2_000])


async def _inside(request: AnyRequest, name: str, inside: Any) -> Enrolment:
    roster = Web.of(request).parts.registry.roster
    await roster.look()
    found = roster.enrolments.get(name)
    if found is None or not inside(found.keeper.group):
        raise NotEnrolled("there is no such server")
    return found


async def _told(request: AnyRequest, enrolment: Enrolment) -> Told:
    sheet = await Web.of(request).parts.registry.reviewing.sheet(enrolment)
    live = enrolment.live
    return Told(
        enrolment.name, enrolment.lifecycle.value, enrolment.keeper.group, [one.version for one in enrolment.versions],
        live.version if live else "", enrolment.until, enrolment.number, _shown(sheet) if sheet else None,
    )  # fmt: skip


def _shown(sheet: Sheet) -> Shown:
    proposal, wide = sheet.proposal, sheet.widening
    tools = [
        Tool(stand.tool, stand.standing.value, str(stand.definition.raw.get("description", "")), [*map(str, stand.changes)])
        for stand in sheet.tools if stand.definition is not None
    ]  # fmt: skip
    return Shown(
        proposal.version, proposal.by, proposal.at, msgspec.to_builtins(proposal.slots), msgspec.to_builtins(proposal.terms),
        msgspec.to_builtins(sheet.before), sheet.address, tools, wide.told, *_who(wide), sheet.digest, sheet.problem,
    )  # fmt: skip


def _who(wide: Widening) -> tuple[list[str], list[str]]:
    return [*(["*"] if wide.everyone else []), *wide.groups], [*wide.people]


ROUTES = (show, review, submit, moved)
