"""What a server asks back in the middle of an approved call (2026-07-28, patterns/mrtr), and the one way on.

The answers make a call of their own: the stored one, and beside it nothing but the answers and the server's own state. People
review it anew, and each question is answered once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from broker.domain.calls import Caller, ToolCall, digest_of
from broker.domain.requests import ApprovalRequest, Change, RequestId, RequestState, Round
from broker.domain.text import clipped
from broker.errors import AlreadyResolved, Malformed

ANSWERS, STATE = "inputResponses", "requestState"
# What a client has to have declared to be asked for it. Nothing else of its declaration goes with a release.
_NEEDED = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
LONGEST_DECLARATION = 4_096
# Characters of a question that go with its answer.
LONGEST_WORDS = 500


class AskedBack(msgspec.Struct, frozen=True):
    """The questions by name, each a JSON-RPC request without an id, and the server's own state, which goes with the answers."""

    questions: dict[str, Any]
    state: str | None = None

    @property
    def words(self) -> dict[str, str]:
        """What is asked, for people: the beginning of each message, the method where there is none."""
        return {name: clipped(_words(question), LONGEST_WORDS) for name, question in self.questions.items()}


def askable(declared: Any) -> dict[str, Any]:
    """Return what of a client's capabilities says that it can be asked; empty where that is unreasonably much."""
    declared = declared if isinstance(declared, dict) else {}
    kept = {name: declared[name] for name in sorted(set(_NEEDED.values())) if isinstance(declared.get(name), dict)}
    try:
        digest_of(kept)  # what has no canonical form may not come out of the store as it went in
    except Malformed:
        return {}
    return kept if len(msgspec.json.encode(kept)) <= LONGEST_DECLARATION else {}


def asked_back(result: Any, declared: Mapping[str, Any]) -> AskedBack | None:
    """Return what a result asks of a client that declared this; None where it asks nothing, or anything that it may not ask."""
    if not isinstance(result, dict) or result.get("resultType") != "input_required":
        return None
    questions, state = result.get("inputRequests"), result.get(STATE)
    if not isinstance(questions, dict) or not questions or not isinstance(state, str | None):
        return None
    may = all(isinstance(one, dict) and _NEEDED.get(str(one.get("method"))) in declared for one in questions.values())
    return AskedBack(questions, state) if may else None


def bare(call: ToolCall) -> ToolCall:
    """The call without what it answers."""
    params = {name: value for name, value in call.params.items() if name not in (ANSWERS, STATE)}
    return msgspec.structs.replace(call, params=params)


def continuing(request: ApprovalRequest, caller: Caller, answers: dict[str, Any], state: str | None) -> ToolCall:
    """Return the call that brings answers: all else in it is the stored call's. It joins by its content, never by a key."""
    more = {ANSWERS: answers} | ({STATE: state} if state is not None else {})
    params = {**bare(request.call).params, **more}
    return msgspec.structs.replace(request.call, params=params, caller=caller, idempotency_key="")


def answered(request: ApprovalRequest, answers: dict[str, Any]) -> Change:
    """Keep answers until all questions have one. What was answered before stays as it was."""
    _still_open(request)
    kept = msgspec.structs.replace(request.round, given={**answers, **request.round.given})
    return _change(request, kept)


def continued(request: ApprovalRequest, digest: str, by: RequestId) -> Change:
    """Take the one right to answer, for the call of this digest, to be parked as `by`. The same call may take it again."""
    if request.round.digest != digest:
        _still_open(request)
    if request.round.next:
        return Change(request, None)
    return _change(request, msgspec.structs.replace(request.round, digest=digest, next=by))


def given_up(request: ApprovalRequest, code: str, why: str) -> Change:
    """Take the right to answer away: the agent wants no result any more, or its answers were refused."""
    _still_open(request)
    return _change(request, msgspec.structs.replace(request.round, over=code, why=why))


def _words(question: dict[str, Any]) -> str:
    params = question.get("params")
    message = params.get("message") if isinstance(params, dict) else None
    return message if isinstance(message, str) else str(question["method"])


def _still_open(request: ApprovalRequest) -> None:
    if request.state is not RequestState.COMPLETED or request.round.next or request.round.over:
        raise AlreadyResolved(request.id, "continued" if request.round.next else request.state)


def _change(request: ApprovalRequest, kept: Round) -> Change:
    return Change(msgspec.structs.replace(request, version=request.version + 1, round=kept), None)
