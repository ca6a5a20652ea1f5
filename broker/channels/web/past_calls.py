"""Past calls that one person may replay: those that they may see, with secrets covered. A condition is a question about
arguments, so nobody asks it of calls that are not theirs to read."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from anyio.lowlevel import checkpoint

from broker.approvals.ports import Query
from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.standing import may_see
from broker.domain.calls import ToolCall
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest
from broker.policy.replay import Recorded, recorded

WINDOW = timedelta(days=30)
MOST, LARGEST = 10_000, 16 << 20
# Few enough at once that other pages are answered between two of them.
PAGE = 50


class PastCalls(msgspec.Struct, frozen=True):
    """`lines` of a recording, oldest first. `all`: they are everybody's; `cut`: there were more, and the oldest are left out."""

    lines: tuple[bytes, ...]
    all: bool
    cut: bool


async def past_calls(web: Web, who: SignedIn) -> PastCalls:
    """Return what `who` may replay of the last 30 days. Raises `StoreUnavailable`."""
    own, kept = web.groups(who), _Kept()
    everything = bool(set(own) & set(web.parts.observers))
    cursor = ""
    while web.parts.recordings is not None:
        page = await web.parts.requests.find(Query(), limit=PAGE, cursor=cursor)
        for request in page.requests:
            if may_see(request, who.person, own, web.parts.observers):
                kept.add(request.opened_at, _line(web, request))
                await checkpoint()  # each may be a large call
        cursor = page.cursor
        if not cursor or kept.full or page.requests[-1].opened_at < web.now() - WINDOW:
            break
    if everything and web.parts.recordings is not None and not kept.full:
        for line in reversed(await web.parts.recordings.read(MOST)):
            kept.add(msgspec.json.decode(line, type=_When).at, line)
    return PastCalls(kept.since(web.now() - WINDOW), everything, kept.full)


class _When(msgspec.Struct):
    at: datetime


class _Kept:
    """Lines with their times, up to the limits."""

    def __init__(self) -> None:
        self._lines: list[tuple[datetime, bytes]] = []
        self._size = 0

    @property
    def full(self) -> bool:
        return len(self._lines) >= MOST or self._size >= LARGEST

    def add(self, at: datetime, line: bytes) -> None:
        if not self.full:
            self._lines.append((at, line))
            self._size += len(line)

    def since(self, when: datetime) -> tuple[bytes, ...]:
        return tuple(line for at, line in sorted(self._lines, key=lambda item: item[0]) if at >= when)


def _line(web: Web, request: ApprovalRequest) -> bytes:
    shown = shown_call(request.call, request.plan, web.parts.mask_key)
    params = {**request.call.params, **({"arguments": shown.arguments} if "arguments" in request.call.params else {})}
    call: ToolCall = msgspec.structs.replace(request.call, params=params)
    told: Recorded = recorded(request, call)
    return msgspec.json.encode(told)
