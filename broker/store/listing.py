"""Lists of requests, newest first: merged from the sorted sets of the store, with a cursor that survives changes."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence

from broker.approvals.ports import Page, Query
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import Malformed
from broker.store import keys
from broker.store.connection import Commands

# Records that one page looks at when a filter has no index of its own.
LOOKED_AT = 2_000

Position = tuple[int, str]
"""Score (opening, microseconds) and id: the order of every list, falling."""

Reader = Callable[[Iterable[RequestId]], Awaitable[list[ApprovalRequest | None]]]


async def find(commands: Commands, query: Query, limit: int, cursor: str, read: Reader) -> Page:
    """Return up to `limit` requests after `cursor`. Raises `Malformed` for a cursor that is none."""
    position = _position(cursor)
    sources, found, looked = _sources(query), list[ApprovalRequest](), 0
    while looked < LOOKED_AT:
        asked = limit + 1 if not looked else 200
        chunk = await _chunk(commands, sources, position, asked)
        for place, request in zip(chunk, await read(RequestId(name) for _, name in chunk), strict=True):
            if request is not None and _matches(query, request):
                if len(found) == limit:
                    return Page(tuple(found), _cursor(position))
                found.append(request)
            position = place
        looked += len(chunk)
        if len(chunk) < asked:
            return Page(tuple(found))
    return Page(tuple(found), _cursor(position))


def _sources(query: Query) -> list[str]:
    if query.group and query.states == (RequestState.PENDING,):
        return [keys.group(query.group)]
    if query.principal:
        return [keys.principal(query.principal)]
    return [keys.state(state) for state in query.states or tuple(RequestState)]


def _matches(query: Query, request: ApprovalRequest) -> bool:
    return (
        (not query.states or request.state in query.states)
        and (not query.group or query.group in {*request.plan.groups, *request.escalated})
        and (not query.principal or query.principal == request.call.caller.principal)
        and query.server in ("", request.call.server)
        and query.tool in ("", request.call.tool)
    )


async def _chunk(commands: Commands, sources: Sequence[str], after: Position | None, size: int) -> list[Position]:
    """Return the next `size` positions over all sources; fewer only at the end."""
    top = "+inf" if after is None else str(after[0])
    room = size
    while True:
        replies = await commands.run_all(
            *(("ZREVRANGEBYSCORE", source, top, "-inf", "WITHSCORES", "LIMIT", 0, room) for source in sources)
        )
        lists = [_positions(reply) for reply in replies]
        bound = max((each[-1] for each in lists if len(each) == room), default=None)
        chunk = merged(lists, after, bound)
        if len(chunk) >= size or bound is None:
            return chunk[:size]
        room *= 4  # many were opened in the same microsecond: read past them


def merged(lists: Sequence[Sequence[Position]], after: Position | None, bound: Position | None) -> list[Position]:
    """Merge falling lists into one, from `after` (left out) down to `bound`, each position once.

    Below the bound one of the lists was not read to its end. A request that moved between two states while they were
    read may stand in both.
    """
    falling = dict.fromkeys(heapq.merge(*lists, reverse=True))
    return [place for place in falling if (after is None or place < after) and (bound is None or place >= bound)]


def _positions(reply: Sequence[bytes]) -> list[Position]:
    return [(int(score), name.decode()) for name, score in zip(reply[::2], reply[1::2], strict=True)]


def _cursor(position: Position | None) -> str:
    return f"{position[0]}-{position[1]}" if position else ""


def _position(cursor: str) -> Position | None:
    if not cursor:
        return None
    score, _, name = cursor.partition("-")
    if not (score.isascii() and score.isdigit() and len(score) <= 17):
        raise Malformed("the cursor is none of ours")
    return int(score), name
