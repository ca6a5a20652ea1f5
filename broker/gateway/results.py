"""What an agent reads: every outcome and every mistake as MCP, in one place, with one plain sentence for the model.

What people or rules decided is a tool result with `isError`, so that the model reads it; only a message that can't be
judged at all is a JSON-RPC error. Codes stand in `_meta` (names in `domain.outcomes.Code`) and are stable.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never

import msgspec

from broker.domain.outcomes import Code, Gone, Outcome, Refused, Released, StillPending, Unknown
from broker.domain.requests import ApprovalRequest
from broker.domain.text import clipped, visible
from broker.errors import (
    BrokerError,
    Forbidden,
    KeyReused,
    Malformed,
    OutcomeLost,
    PolicyInvalid,
    StoreUnavailable,
    TooMany,
    Unauthenticated,
    UnknownRequest,
    UnknownServer,
    UpstreamError,
)
from broker.gateway.envelope import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RpcId, encoded

META = "approval-broker/"
WAIT_TOOL = "approval_wait"

_STORE_AWAY = "the approval broker can't reach its store, so nothing was done: try again in a minute"
_NO_POLICY = "the approval broker has no policy it can use, so nothing was done: its operator has to mend that"

Result = dict[str, Any]

# HTTP status of a JSON-RPC error, where the answer has not begun (2026-07-28, streamable HTTP); 200 for all others.
_STATUS = {-32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}

_STATUSES: tuple[tuple[type[BrokerError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (UnknownServer, 404),
    (TooMany, 429),
    (StoreUnavailable, 503),
    (PolicyInvalid, 503),
    (UpstreamError, 502),
)


class Reply(msgspec.Struct, frozen=True):
    """One JSON-RPC answer without its id: either `result` or `error`."""

    result: Result | None = None
    error: dict[str, Any] | None = None

    def status(self, *, modern: bool) -> int:
        if self.error is None or not modern:
            return 200
        return _STATUS.get(self.error.get("code", 0), 200)

    def encoded(self, rpc_id: RpcId | None) -> bytes:
        member = {"error": self.error} if self.error is not None else {"result": self.result}
        return encoded({"jsonrpc": "2.0", "id": rpc_id, **member})


def told(outcome: Outcome, *, now: datetime) -> Reply:
    """Return what an agent reads of an outcome."""
    match outcome:
        case Released():
            return _released(outcome)
        case Refused():
            return Reply(refused(outcome))
        case StillPending():
            return Reply(_pending(outcome, now))
        case Unknown():
            text = (
                "The call was approved and started, but its result is unknown. Do not repeat it: it may have run. "
                f"{_sentence(outcome.why)}People have been told and will record what happened."
            )
            return Reply(_said(text, Code.UNKNOWN, request=outcome.request, joined=outcome.joined))
        case Gone():
            text = (
                f"The call ran once, but its result is no longer here: {clipped(visible(outcome.why), 300)}. "
                "Do not repeat it unless it should run again."
            )
            return Reply(_said(text, Code.RELEASED, request=outcome.request))
        case _:
            assert_never(outcome)


def refused(outcome: Refused) -> Result:
    """Return the tool result of a call that was not made."""
    why = _sentence(outcome.why)
    match outcome.code:
        case Code.DENIED:
            rules = ", ".join(dict.fromkeys(reason.rule for reason in outcome.reasons))
            by = f" ({rules})" if rules else ""
            text = f"The policy denies this call{by}; it was not made. {why}Do not try it again unchanged."
        case Code.REJECTED:
            text = f"A person rejected this call; it was not made. {why}Do not repeat it unchanged."
        case Code.EXPIRED:
            text = f"Nobody approved this call in time; it was not made. {why}You may ask again."
        case Code.CANCELLED:
            text = f"This call was withdrawn; it was not made. {why}"
        case Code.VOIDED:
            text = f"The tool changed after the call was sent for approval; it was not made. {why}List the tools again first."
        case _:
            text = f"The call failed. {why}"
    return _said(text.rstrip(), outcome.code, request=outcome.request, joined=outcome.joined)


def failed(error: BrokerError) -> Reply:
    """Return what an agent reads when its `tools/call` met a mistake instead of an answer."""
    match error:
        case Malformed() | Forbidden() | UnknownServer():
            return Reply(error=rpc_error(error))
        case UnknownRequest():
            return Reply(_said("There is no such approval request.", Code.FAILED))
        case OutcomeLost():
            text = f"The call was sent, but its result is unknown: {error.message}. Do not repeat it: it may have run."
            return Reply(_said(text, Code.UNKNOWN))
        case StoreUnavailable():
            text = "The approval broker can't reach its store, so the call was not made. Try again in a minute."
        case PolicyInvalid():
            text = "The approval broker has no policy it can use, so the call was not made. Its operator has to mend that."
        case UpstreamError():
            text = f"The call was not made: {error.message}."
        case KeyReused() | TooMany():
            text = f"The call was not made: {error.message}."
        case _:
            text = "The approval broker failed, and the call was not made."
    return Reply(_said(text, Code.FAILED))


def rpc_error(error: BrokerError) -> dict[str, Any]:
    """Return the `error` member for a mistake outside a tool call, or one before any judging."""
    default = INVALID_PARAMS if isinstance(error, Malformed) else INTERNAL_ERROR
    told: dict[str, Any] = {"code": error.fields.get("rpc", default), "message": _message(error)}
    if "data" in error.fields:
        told["data"] = error.fields["data"]
    return told


def _message(error: BrokerError) -> str:
    match error:
        case StoreUnavailable():
            return _STORE_AWAY
        case PolicyInvalid():  # what is wrong with the files is for the operator, not for agents
            return _NO_POLICY
        case _:
            return error.message


def status_of(error: BrokerError, *, modern: bool) -> int:
    """Return the HTTP status for a mistake before the answer has begun."""
    if "status" in error.fields:
        return int(error.fields["status"])
    if isinstance(error, Malformed):
        code = error.fields.get("rpc", INVALID_PARAMS)
        return 200 if code == METHOD_NOT_FOUND and not modern else _STATUS.get(code, 400)
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def waiting_line(outcome: StillPending, now: datetime) -> str:
    """Return who is asked and for how long, for a progress notification."""
    if outcome.approved:
        return "approved, and about to run"
    return f"waiting for approval by {_groups(outcome)}, {_left(outcome, now)} left"


def waiting_marks(request: ApprovalRequest) -> dict[str, Any]:
    """Return the `_meta` of a question that goes out while people may decide as well."""
    return {**_marks(Code.PENDING, request.id, False), META + "expires": request.expires_at.isoformat()}


def _released(outcome: Released) -> Reply:
    answer = msgspec.json.decode(outcome.answer)
    if "error" in answer:
        return Reply(error=answer["error"])
    result: Result = answer["result"]
    if result.get("resultType") == "input_required":
        text = "The call ran until its server asked something back, which this client can't be asked. It was not finished."
        return Reply(_said(text, Code.FAILED, request=outcome.request, joined=outcome.joined))
    result["_meta"] = {**(result.get("_meta") or {}), **released_marks(outcome)}
    return Reply(result)


def released_marks(outcome: Released) -> dict[str, Any]:
    """Return what stands in the `_meta` of a server's own result."""
    return _marks(Code.RELEASED, outcome.request, outcome.joined)


def _pending(outcome: StillPending, now: datetime) -> Result:
    done = (
        "It was approved and is about to run."
        if outcome.approved
        else f"It waits for people ({_groups(outcome)}), who have {_left(outcome, now)} left to decide."
    )
    text = (
        f"PENDING: this call has not run yet. {done} To get its result, call the tool `{WAIT_TOOL}` with "
        f'{{"request_id": "{outcome.request}"}}, or make exactly the same call again: it joins this request and runs once.'
    )
    result = _said(text, Code.PENDING, request=outcome.request, joined=outcome.joined)
    result["_meta"][META + "expires"] = outcome.expires.isoformat()
    return result


def _said(text: str, code: Code, *, request: str | None = None, joined: bool = False) -> Result:
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "_meta": _marks(code, request, joined),
    }


def _marks(code: Code, request: str | None, joined: bool) -> dict[str, Any]:
    marks: dict[str, Any] = {META + "code": code.value}
    if request is not None:
        marks |= {META + "request": request, META + "joined": joined}
    return marks


def _sentence(why: str) -> str:
    """Return a person's or a rule's words as one sentence and a blank, or nothing."""
    clean = clipped(visible(why, keep="").strip(), 500)
    return f"Reason: {clean.rstrip('.')}. " if clean else ""


def _groups(outcome: StillPending) -> str:
    return " and ".join(outcome.asked) or "nobody"


def _left(outcome: StillPending, now: datetime) -> str:
    seconds = max(0, round((outcome.expires - now).total_seconds()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
