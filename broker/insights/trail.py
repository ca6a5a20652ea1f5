"""Who did what: each call with its decision, the people who answered it and what became of it, out of audit entries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from broker.domain.calls import Caller
from broker.domain.events import CallDecided, CallEnded, Confirmed, Entry, Finished, Opened, RequestEvent, Reviewed


class Answer(msgspec.Struct, frozen=True):
    """What one person said. `channel` is where, or `caller` for the confirmation of the caller's own user."""

    person: str
    verdict: str
    channel: str
    reason: str = ""
    batch: str = ""


class Call(msgspec.Struct, frozen=True):
    """One call. `effect` is what the rules said: allow, deny or require_approval; `digest` is that of all that was called.

    `outcome` is `answered`, `failed` or a code for what was allowed, `refused` for what was denied, and the state of the
    request otherwise; `result` is the digest of the answer to a released call.
    """

    number: int
    at: datetime
    user: str
    agent: str
    workload: str
    surface: str
    server: str
    tool: str
    digest: str
    effect: str
    rules: tuple[str, ...]
    outcome: str
    trace: str = ""
    request: str = ""
    answers: tuple[Answer, ...] = ()
    result: str = ""


class Wanted(msgspec.Struct, frozen=True):
    """What is looked for; empty is anything. `user` is also the owner of an agent that calls for nobody."""

    user: str = ""
    server: str = ""
    tool: str = ""
    request: str = ""

    def fits(self, call: Call) -> bool:
        pairs = ((self.user, call.user), (self.server, call.server), (self.tool, call.tool), (self.request, call.request))
        return all(wanted in ("", found) for wanted, found in pairs)


def calls(entries: Iterable[Entry]) -> list[Call]:
    """Return the calls that were decided or parked in these entries, oldest first, as they stood then."""
    found: dict[int, Call] = {}
    ended: dict[tuple[str, str], int] = {}
    for entry in entries:
        event = entry.event
        match event:
            case CallDecided():
                outcome = "answered" if event.effect == "allow" else "refused"
                found[entry.number] = _call(entry.number, event, event.effect, outcome)
                ended[event.trace, event.digest] = entry.number
            case CallEnded() if (number := ended.get((event.trace, event.digest))) is not None:
                found[number] = msgspec.structs.replace(found[number], outcome=event.outcome)
            case Opened():
                called = _call(entry.number, event, "require_approval", event.state)
                found[entry.number] = msgspec.structs.replace(called, request=event.request)
            case _:
                continue
    return [found[number] for number in sorted(found)]


def told(call: Call, story: Sequence[Entry]) -> Call:
    """Return a parked call with what its request's own entries say: who answered, and how it ended."""
    answers, outcome, result = [], call.outcome, call.result
    for entry in story:
        event = entry.event
        if isinstance(event, Reviewed):
            answers.append(Answer(event.reviewer, event.verdict, event.channel, event.reason, event.batch))
        elif isinstance(event, Confirmed):
            answers.append(Answer(event.person, event.verdict, "caller", event.reason))
        if isinstance(event, RequestEvent):
            outcome = event.state
        if isinstance(event, Finished):
            result = event.result
    failed = any(isinstance(entry.event, Finished) and entry.event.why for entry in story)
    return msgspec.structs.replace(call, answers=tuple(answers), outcome="failed" if failed else outcome, result=result)


def _call(number: int, event: CallDecided | Opened, effect: str, outcome: str) -> Call:
    caller: Caller = event.caller
    return Call(
        number, event.at, caller.user or caller.owner, caller.agent, caller.workload, caller.surface, event.server, event.tool,
        event.digest, effect, event.rules, outcome, event.trace,
    )  # fmt: skip
