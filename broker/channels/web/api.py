"""The HTTP API, for people's own programs and the terminal: personal tokens, problem+json, cursors, a stream of changes.

It does what the pages do, by the same verbs. No cookie counts here, so no other site can make a browser use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio.lowlevel
import msgspec
from litestar import Controller, Response, get, post
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream

from broker.approvals.ports import Query
from broker.channels.web.api_shapes import (
    CommentBody,
    Listed,
    Me,
    RecordBody,
    ReviewBody,
    Summary,
    Used,
    Whole,
    summary,
    used,
    whole,
)
from broker.channels.web.board import Row
from broker.channels.web.detail import moments
from broker.channels.web.insights_page import checked
from broker.channels.web.live import BEATS_TO_KEEP_ALIVE, next_news
from broker.channels.web.parts import Web
from broker.channels.web.ports import Token
from broker.channels.web.receipt_file import receipt_of
from broker.channels.web.standing import may_see, sees, standing
from broker.channels.web.verdicts import Given, comment, give, write_down
from broker.channels.web.visitors import AnyRequest
from broker.domain.people import Reviewer
from broker.domain.redaction import covered, shown_call
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import Forbidden, Malformed, Unauthenticated, UnknownRequest
from broker.insights.usage import month_of

PAGES_LOOKED_AT = 20

State = Annotated[str, QueryParameter(name="state", description="a state, e.g. pending; all if empty")]
View = Annotated[str, QueryParameter(description="mine: may be reviewed by you now; asked: by your agents; all")]
Limit = Annotated[int, QueryParameter(ge=1, le=200)]


async def authenticated(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Know whose token it is before anything else of a call is read. Raises `Unauthenticated`."""
    web: Web = connection.app.state["web"]
    credential = connection.headers.get("authorization")
    try:
        connection.scope["state"]["token"] = await web.parts.tokens.authenticate(credential)
    except Unauthenticated:
        await web.intruders.tried(credential, connection.scope["path"])
        raise


class Api(Controller):
    """Version 1."""

    path = "/api/v1"
    guards = [authenticated]  # noqa: RUF012 - Litestar's way to say it
    opt = {"anonymous": True}  # noqa: RUF012
    tags = ["requests"]  # noqa: RUF012

    @get("/me")
    async def me(self, request: AnyRequest) -> Me:
        """Say whose token this is."""
        token = token_of(request, "read")
        return Me(token.person, Web.of(request).parts.desk.groups_of(by_token(request, token)), tuple(token.scopes))

    @get("/requests")
    async def requests(
        self, request: AnyRequest, wanted: State = "pending", view: View = "all", server: FromQuery[str] = "",
        limit: Limit = 50, cursor: FromQuery[str] = "",
    ) -> Listed:  # fmt: skip
        """List requests that you may see."""
        token = token_of(request, "read")
        if wanted and wanted not in tuple(RequestState):
            raise Malformed(f"there is no state `{wanted}`")
        states = (RequestState(wanted),) if wanted else ()
        return await _listed(request, token, Query(states=states, server=server), view, limit, cursor)

    @get("/requests/{request_id:str}")
    async def show(self, request: AnyRequest, request_id: FromPath[str]) -> Response[Whole]:
        """Show one request. Its ETag is its version."""
        token = token_of(request, "read")
        found = await seen_by(request, token, request_id)
        tag = f'"{found.version}"'
        if request.headers.get("if-none-match") == tag:
            return Response(None, status_code=304)  # type: ignore[arg-type]  # 304 has no body
        return Response(await _whole(request, token, found), headers={"etag": tag})

    @get("/requests/{request_id:str}/receipt")
    async def receipt(self, request: AnyRequest, request_id: FromPath[str]) -> Response[bytes]:
        """Return the signed receipt of a request that was released (`broker receipts verify` reads it)."""
        return receipt_of(Web.of(request), await seen_by(request, token_of(request, "read"), request_id))

    @post("/requests/{request_id:str}/reviews", status_code=200)
    async def review(self, request: AnyRequest, request_id: FromPath[str], data: JSONBody[ReviewBody]) -> Whole:
        """Approve or reject. 409 says that it was decided before, and by whom."""
        token = token_of(request, "review")
        found = await seen_by(request, token, request_id)
        web = Web.of(request)
        shown = shown_call(found.call, found.plan, web.parts.mask_key)
        given = Given(data.verdict, data.digest, data.reason, data.typed)
        after = await give(web, found, by_token(request, token), shown, given)
        return await _whole(request, token, after)

    @post("/requests/{request_id:str}/comments", status_code=200)
    async def comment(self, request: AnyRequest, request_id: FromPath[str], data: JSONBody[CommentBody]) -> Whole:
        """Write something beside a request. It decides nothing, and its agent is not told."""
        token = token_of(request, "review")
        found = await seen_by(request, token, request_id)
        after = await comment(Web.of(request), found, by_token(request, token), data.text)
        return await _whole(request, token, after)

    @post("/requests/{request_id:str}/record", status_code=200)
    async def record(self, request: AnyRequest, request_id: FromPath[str], data: JSONBody[RecordBody]) -> Whole:
        """Write down what became of a request whose result nobody knows."""
        token = token_of(request, "review")
        found = await seen_by(request, token, request_id)
        after = await write_down(Web.of(request), found, by_token(request, token), ran=data.ran, why=data.why)
        return await _whole(request, token, after)

    @get("/usage")
    async def usage(self, request: AnyRequest, month: FromQuery[str] = "") -> Used:
        """Say what use there was in a month (`2026-11`; this one if empty): calls, people, and the time saved, rounded."""
        if not _groups(request, token_of(request, "read")):
            raise Forbidden("the use of servers is for members of the groups that people.yaml names")
        web = Web.of(request)
        return used(await web.parts.usage.month(month_of(checked(month, web.now().date()))))

    @get("/watch")
    async def watch(self, request: AnyRequest) -> Stream:
        """Follow what moves among the requests that you may see: events named `request`, data `{id, state, version, title}`."""
        token = token_of(request, "read")
        return Stream(_moves(request, token), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def token_of(request: AnyRequest, scope: str) -> Token:
    token: Token = request.scope["state"]["token"]
    token.require(scope)
    return token


def by_token(request: AnyRequest, token: Token) -> Reviewer:
    software = request.headers.get("user-agent", "")
    return Reviewer(person=token.person, channel="terminal" if software.startswith("broker-cli") else "api")


def _groups(request: AnyRequest, token: Token) -> tuple[str, ...]:
    return Web.of(request).parts.desk.groups_of(by_token(request, token))


async def seen_by(request: AnyRequest, token: Token, request_id: str) -> ApprovalRequest:
    web = Web.of(request)
    found = await web.parts.desk.look(RequestId(request_id))
    if not may_see(found, token.person, _groups(request, token), web.parts.observers):
        raise UnknownRequest(request_id)
    return found


async def _whole(request: AnyRequest, token: Token, found: ApprovalRequest) -> Whole:
    web = Web.of(request)
    return whole(
        found,
        shown_call(found.call, found.plan, web.parts.mask_key, reasons=found.reasons),
        stated=covered(found.origin.stated, web.parts.mask_key),
        people=web.people(),
        standing=standing(found, token.person, _groups(request, token), web.now()),
        moments=await moments(web, found),
    )


async def _listed(request: AnyRequest, token: Token, query: Query, view: str, limit: int, cursor: str) -> Listed:
    web, groups = Web.of(request), _groups(request, token)
    found: list[Summary] = []
    for _ in range(PAGES_LOOKED_AT):
        page = await web.parts.requests.find(query, limit=limit - len(found), cursor=cursor)
        visible = [one for one in page.requests if may_see(one, token.person, groups, web.parts.observers)]
        kept = [one for one in visible if _in_view(one, view, token.person, groups, web)]
        for one in kept:
            found.append(summary(one, shown_call(one.call, one.plan, web.parts.mask_key).title))
            await anyio.lowlevel.checkpoint()  # each may be a large call
        cursor = page.cursor
        if not cursor or len(found) >= limit:
            break
    return Listed(found, cursor)


def _in_view(one: ApprovalRequest, view: str, person: str, groups: tuple[str, ...], web: Web) -> bool:
    match view:
        case "all":
            return True
        case "asked":
            return person in one.call.caller.people
        case "mine":
            stands = standing(one, person, groups, web.now())
            return stands.reviews or stands.records
        case _:
            raise Malformed("a view is one of mine, asked, all")


async def _moves(request: AnyRequest, token: Token) -> AsyncIterator[bytes]:
    web, quiet = Web.of(request), 0
    with web.board.watch() as rows:
        yield b"retry: 1000\n: watching\n\n"
        while True:
            try:
                row = await next_news(rows)
            except anyio.EndOfStream:
                return
            mine = isinstance(row, Row) and sees(
                row.people, row.groups, row.reviewers, token.person, _groups(request, token), web.parts.observers
            )
            if isinstance(row, Row) and mine:
                yield _move(row)
            if row is not None:
                continue
            quiet += 1
            if quiet >= BEATS_TO_KEEP_ALIVE:
                quiet = 0
                if not await _still(request):
                    return
                yield b": still here\n\n"


def _move(row: Row) -> bytes:
    data = msgspec.json.encode({"id": row.id, "state": row.state.value, "version": row.version, "title": row.title})
    return b"event: request\ndata: " + data + b"\n\n"


async def _still(request: AnyRequest) -> bool:
    """A revoked token must not go on listening."""
    try:
        await Web.of(request).parts.tokens.authenticate(request.headers.get("authorization"))
    except Unauthenticated:
        return False
    return True
