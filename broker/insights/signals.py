"""What the broker saw itself that helps to judge one request: how often, how it ended, and what is new. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict
from broker.domain.text import visible
from broker.insights.reads import Read

WINDOW = timedelta(days=30)

_RAN = (RequestState.COMPLETED, RequestState.EXECUTING, RequestState.APPROVED)


class Signal(msgspec.Struct, frozen=True):
    """One observation, in words. `odd`: it speaks for a closer look."""

    text: str
    odd: bool = False


class Past(msgspec.Struct, frozen=True):
    """Earlier requests of the same caller for the same tool, newest first. `all`: there were no more than these."""

    requests: tuple[ApprovalRequest, ...]
    all: bool = True

    @property
    def last_approved(self) -> ApprovalRequest | None:
        return next((one for one in self.requests if one.state in _RAN), None)


def past(request: ApprovalRequest, found: Sequence[ApprovalRequest], *, all: bool) -> Past:
    """Return what came before `request` among the `found` ones of its caller."""
    before = (one for one in found if one.opened_at < request.opened_at and one.id != request.id)
    same = (one for one in before if (one.call.server, one.call.tool) == (request.call.server, request.call.tool))
    return Past(tuple(same), all)


def signals(request: ApprovalRequest, earlier: Past, now: datetime, read: Read | None = None) -> tuple[Signal, ...]:
    """Return what the past says, the odd first. `read` is what its agent read from outside shortly before."""
    outside = [_outside(request, read)] if read is not None else []
    if not earlier.requests:
        return (*outside, Signal("The first time that this agent asks for this tool.", odd=True))
    found = [
        *outside,
        *_new_values(request, earlier),
        *_changed_tool(request, earlier),
        _counts(earlier, now),
        *_repeated(request, earlier),
    ]
    return tuple(sorted(found, key=lambda signal: not signal.odd))


def _outside(request: ApprovalRequest, read: Read) -> Signal:
    seconds = int((request.opened_at - read.at).total_seconds())
    before = f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"
    tool = visible(f"{read.server} → {read.tool}", keep="")
    return Signal(f"{before} before it asked, the agent read from outside: {tool}.", odd=True)


def _counts(earlier: Past, now: datetime) -> Signal:
    recent = [one for one in earlier.requests if now - one.opened_at <= WINDOW]
    ran = sum(one.state in _RAN for one in recent)
    rejected = sum(any(review.verdict is Verdict.REJECT for review in one.reviews) for one in recent)
    expired = sum(one.state is RequestState.EXPIRED for one in recent)
    more = "" if earlier.all else "at least "
    parts = [f"{ran} approved", f"{rejected} rejected", *([f"{expired} without an answer"] if expired else [])]
    return Signal(f"In the last 30 days, of this agent and tool: {more}{', '.join(parts)}.", odd=rejected > ran)


def _new_values(request: ApprovalRequest, earlier: Past) -> list[Signal]:
    """A decisive field whose value none of the approved calls had; a number that is higher than all of theirs."""
    approved = [one for one in earlier.requests if one.state in _RAN]
    if len(approved) < 3:
        return []
    told = [_unlike(path, request, approved) for path in request.plan.show]
    new = [_label(path) for path, how in zip(request.plan.show, told, strict=True) if how == "new"]
    higher = [_label(path) for path, how in zip(request.plan.show, told, strict=True) if how == "higher"]
    found = [Signal(f"Never seen before in {len(approved)} approved calls: {', '.join(new)}.", odd=True)] if new else []
    return found + [Signal(f"Higher than in any of {len(approved)} approved calls: {', '.join(higher)}.", odd=True)] * bool(
        higher
    )


def _unlike(path: str, request: ApprovalRequest, approved: Sequence[ApprovalRequest]) -> str:
    value, before = _at(request.call.arguments, path), [_at(one.call.arguments, path) for one in approved]
    if value is None or value in before:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "new"
    numbers = [one for one in before if isinstance(one, int | float)]
    return "higher" if numbers and value > max(numbers) else ""


def _at(arguments: Any, path: str) -> Any:
    """Follow a plain path (`args.customer.id`); None where it leads nowhere, or is more than plain names."""
    for name in path.removeprefix("$.").removeprefix("args.").split("."):
        if not isinstance(arguments, dict) or name not in arguments:
            return None
        arguments = arguments[name]
    return arguments


def _label(path: str) -> str:
    return path.removeprefix("$.").removeprefix("args.").replace("_", " ")


def _changed_tool(request: ApprovalRequest, earlier: Past) -> list[Signal]:
    last = earlier.last_approved
    changed = last is not None and last.definition and request.definition and last.definition != request.definition
    return [Signal("The server describes the tool differently than when it was last approved.", odd=True)] if changed else []


def _repeated(request: ApprovalRequest, earlier: Past) -> list[Signal]:
    """The very same call was rejected before: the agent tries again."""
    refused = [one for one in earlier.requests if one.digest == request.digest and one.state is RequestState.REJECTED]
    return [Signal("Exactly this call was rejected before.", odd=True)] if refused else []
