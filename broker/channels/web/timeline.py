"""The story of one request, told from the audit: one line a fact. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from broker.domain import events
from broker.domain.events import Entry, Event
from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Review, Verdict, Way

Name = Callable[[str], str]
"""Turns a person's id into the name that people know."""


class Moment(msgspec.Struct, frozen=True):
    """One line. `tone`: plain, good, bad or odd. `said` are words of a person or agent: shown as text, never as ours."""

    at: datetime
    what: str
    tone: str = "plain"
    said: str = ""


def timeline(entries: Sequence[Entry], name: Name) -> tuple[Moment, ...]:
    """Return what people want to know of a request, oldest first. Facts that only machines need are left out."""
    told = (_told(entry.event, name) for entry in entries)
    return tuple(moment for moment in told if moment is not None)


def from_record(request: ApprovalRequest, name: Name) -> tuple[Moment, ...]:
    """Return what the record itself still knows, for when the audit can't be read."""
    moments = [Moment(request.opened_at, f"Asked by {request.call.caller.agent or 'an agent'}")]
    moments += [_review(review.at, name(review.reviewer), review) for review in request.reviews]
    moments += [Moment(comment.at, f"{name(comment.who)} wrote", said=comment.text) for comment in request.comments]
    if (given := request.confirmation) is not None and given.at is not None:
        moments.append(_confirmation(given.at, name(given.person), given.verdict, given.way, given.reason))
    if request.ended_at is not None:
        moments.append(Moment(request.ended_at, request.state.value.capitalize(), _tone(request.state.value), request.note))
    return tuple(moments)


def _told(event: Event, name: Name) -> Moment | None:
    match event:
        case events.Opened():
            return Moment(event.at, f"Asked by {event.caller.agent or event.caller.user or 'an agent'}")
        case events.Reviewed():
            return _review(event.at, name(event.reviewer), event)
        case events.Escalated():
            return Moment(event.at, f"Nobody had answered: {', '.join(event.groups)} asked as well", "odd")
        case events.Reopened():
            return Moment(event.at, f"The policy changed and needs more: asked again by {', '.join(event.rules)}", "odd")
        case events.Claimed():
            return Moment(event.at, "Sent to the server")
        case events.Recorded():
            return Moment(event.at, f"{name(event.by)} recorded: {_recorded(event.state)}", _tone(event.state), event.why)
        case events.Delivered():
            return Moment(event.at, "The agent has its answer")
        case _:
            return _ending(event, name)


def _ending(event: Event, name: Name) -> Moment | None:
    match event:
        case events.Confirmed():
            return _confirmation(event.at, name(event.person), event.verdict, event.way, event.reason)
        case events.Ended():
            by = f" by {name(event.by)}" if event.by else ""
            return Moment(event.at, f"{_ENDINGS.get(event.state, event.state.capitalize())}{by}", _tone(event.state), event.why)
        case events.Finished():
            return Moment(event.at, "It ran" if event.state == "completed" else "It failed", _tone(event.state), event.why)
        case events.Lost():
            return Moment(event.at, "Nobody knows whether it ran", "odd", event.why)
        case events.Commented():
            return Moment(event.at, f"{name(event.who)} wrote", "plain", event.text)
        case events.Noted(what="request.uncovered"):
            return Moment(event.at, f"{name(event.who)} uncovered {event.fields.get('path', 'a value')}", "odd")
        case _:
            return None


def _review(at: datetime, who: str, given: Review | events.Reviewed) -> Moment:
    done, tone = ("Approved", "good") if given.verdict == Verdict.APPROVE else ("Rejected", "bad")
    together = f", with others as {given.batch}" if given.batch else ""
    return Moment(at, f"{done} by {who}, in {_CHANNELS.get(given.channel, given.channel)}{together}", tone, given.reason)


def _confirmation(at: datetime, who: str, verdict: str, way: str, reason: str) -> Moment:
    done, tone = ("Confirmed", "good") if verdict == Verdict.APPROVE else ("Declined", "bad")
    where = "signed in on this page" if way == Way.PAGE else "as their client says"
    return Moment(at, f"{done} by the caller's own user ({who}), {where}", tone, reason)


_ENDINGS = {"cancelled": "Withdrawn"}
_CHANNELS = {"web": "the browser", "terminal": "the terminal", "slack": "Slack", "api": "the API"}


def _recorded(state: str) -> str:
    return "it did run" if state == "completed" else "it did not run"


def _tone(state: str) -> str:
    return {"completed": "good", "approved": "good", "unknown": "odd", "rejected": "bad", "failed": "bad"}.get(state, "plain")
