"""History: every request that one may see, found by person, agent, server, tool, outcome, rule, time or shown words."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import anyio.lowlevel
import msgspec
from litestar import Response, get
from litestar.params import FromPath
from litestar.response import Stream

from broker.channels.web.arguments import Piece, pieces
from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.projection import Hit, Search, mark, micros
from broker.channels.web.standing import may_see
from broker.channels.web.views import STATES
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestState
from broker.errors import Malformed, RequestError, UnknownRequest

PAGE = 50
EXACT = ("state", "severity", "server", "tool", "agent", "person", "rule")


class Asked(msgspec.Struct, frozen=True):
    """A search as its address says it. Dates are days in UTC, both included."""

    q: str = ""
    exact: tuple[tuple[str, str], ...] = ()
    since: str = ""
    until: str = ""
    before: int = 0

    def value(self, name: str) -> str:
        return dict(self.exact).get(name, "")

    def query(self, **more: object) -> str:
        told = {"q": self.q, **dict(self.exact), "since": self.since, "until": self.until, **more}
        return urlencode({name: value for name, value in told.items() if value})


class Line(msgspec.Struct, frozen=True):
    """One found request, as the list and the exports show it."""

    request: ApprovalRequest
    title: str
    fields: tuple[tuple[str, str], ...]
    state: str
    decided: str

    @property
    def heading(self) -> tuple[Piece, ...]:
        return pieces(self.title)


def asked(request: AnyRequest) -> Asked:
    """Read a search from the address. Raises `Malformed` for a date or cursor that is none."""
    given = request.query_params
    exact = tuple((name, given[name][:200]) for name in EXACT if given.get(name))
    before = given.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 18):
        raise Malformed("the cursor is none of ours")
    found = Asked(given.get("q", "")[:200], exact, given.get("since", ""), given.get("until", ""), int(before or 0))
    for day in filter(None, (found.since, found.until)):
        _day(day)
    return found


def search_of(wanted: Asked, who: SignedIn, web: Web) -> Search:
    """Return the search for what `who` may see."""
    own = web.groups(who)
    observer = bool(set(own) & set(web.parts.observers))
    sight = () if observer else (mark("person", who.person), *(mark("group", name) for name in own))
    before = wanted.before or (micros(_day(wanted.until) + timedelta(days=1)) if wanted.until else 0)
    return Search(
        words=wanted.q,
        marks=tuple(mark(name, value) for name, value in wanted.exact),
        sight=sight,
        before=before,
        since=micros(_day(wanted.since)) if wanted.since else 0,
    )


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Malformed("a day has to be like 2026-11-24") from None


async def found(web: Web, who: SignedIn, wanted: Search, limit: int) -> tuple[list[Line], int]:
    """Return the lines of one page, and where the next begins (0: nowhere). Each record is judged by itself."""
    hits = await web.projection.search(wanted, limit)
    read = await _records(web, hits)
    if gone := [hit.id for hit in hits if hit.id not in read]:
        await web.projection.drop(gone)
    own = web.groups(who)
    seen = [read[hit.id] for hit in hits if hit.id in read]
    lines: list[Line] = []
    for one in seen:
        if may_see(one, who.person, own, web.parts.observers):
            lines.append(_line(web, one))
            await anyio.lowlevel.checkpoint()  # each may be a large call
    return lines, hits[-1].number if len(hits) == limit else 0


async def _records(web: Web, hits: list[Hit]) -> dict[str, ApprovalRequest]:
    read: dict[str, ApprovalRequest] = {}

    async def one(hit: Hit) -> None:
        try:
            read[hit.id] = await web.parts.requests.get(hit.id)
        except RequestError:
            return

    async with anyio.create_task_group() as tasks:
        for hit in hits:
            tasks.start_soon(one, hit)
    return read


def _line(web: Web, request: ApprovalRequest) -> Line:
    shown = shown_call(request.call, request.plan, web.parts.mask_key)
    fields = tuple((field.label, field.value) for field in shown.fields)
    by = web.people().person(request.decided_by).shown if request.decided_by else ""
    return Line(request, shown.title, fields, STATES[request.state], by)


@get("/history", include_in_schema=False)
async def history(request: AnyRequest) -> Response[str]:
    web, who = Web.of(request), visitor(request)
    wanted = asked(request)
    lines, after = await found(web, who, search_of(wanted, who, web), PAGE)
    states = [(state.value, STATES[state]) for state in RequestState]
    return web.page(
        request, "history.html", asked=wanted, lines=lines, older=wanted.query(before=after) if after else "", states=states
    )


@get("/history/export/{form:str}", include_in_schema=False)
async def export(request: AnyRequest, form: FromPath[str]) -> Stream:
    """Everything that was searched for, as CSV (RFC 4180) or as one JSON object a line, streamed."""
    web, who = Web.of(request), visitor(request)
    forms = {"csv": ("text/csv", _csv), "jsonl": ("application/jsonl", _jsonl)}
    if form not in forms:
        raise UnknownRequest("export")
    media, write = forms[form]
    name = f'attachment; filename="approvals.{form}"'
    return Stream(
        _exported(web, who, search_of(asked(request), who, web), write), media_type=media, headers={"content-disposition": name}
    )


async def _exported(web: Web, who: SignedIn, wanted: Search, write: Any) -> AsyncIterator[bytes]:
    yield write(None)
    while True:
        lines, after = await found(web, who, wanted, 200)
        for line in lines:
            yield write(_flat(line))
        if not after:
            return
        wanted = msgspec.structs.replace(wanted, before=after)


def _flat(line: Line) -> dict[str, str]:
    request = line.request
    caller, ended = request.call.caller, request.ended_at
    return {
        "id": request.id, "opened": request.opened_at.isoformat(), "ended": ended.isoformat() if ended else "",
        "state": request.state.value, "severity": request.plan.severity.value, "title": line.title, "server": request.call.server,
        "tool": request.call.tool, "agent": caller.agent, "owner": caller.owner, "user": caller.user,
        "rules": " ".join(request.rules), "decided_by": request.decided_by, "note": request.note, "digest": request.digest,
        "batches": " ".join(dict.fromkeys(review.batch for review in request.reviews if review.batch)),
        "fields": "; ".join(f"{name}={value}" for name, value in line.fields),
    }  # fmt: skip


COLUMNS = (
    "id", "opened", "ended", "state", "severity", "title", "server", "tool", "agent", "owner", "user", "rules", "decided_by",
    "note", "digest", "batches", "fields",
)  # fmt: skip


def _csv(row: dict[str, str] | None) -> bytes:
    """A cell that a spreadsheet would take for a formula is quoted by an apostrophe."""
    line = io.StringIO()
    cells = COLUMNS if row is None else [_harmless(row[name]) for name in COLUMNS]
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in tuple("=+-@\t\r") else cell


def _jsonl(row: dict[str, str] | None) -> bytes:
    return b"" if row is None else msgspec.json.encode(row) + b"\n"


ROUTES = (history, export)
