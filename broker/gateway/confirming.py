"""Asking the caller's own user, where every asking rule says `caller: true`: one question, and what its answer counts for.

Newer clients get it as `input_required` (2026-07-28, patterns/mrtr), older ones as `elicitation/create` on their open stream.
In a form the client speaks for its user: that a person saw it can't be known. A page is answered there, by who signed in.
What is handed out is sealed over principal, server, request, digest and expiry, and one use of it counts. Nothing is ever
taken for a yes but a yes; who can't be asked, or does not answer, is held like any other.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from broker.domain.calls import ToolCall, digest_of
from broker.domain.confirmations import may_confirm
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Confirmation, Verdict, Way
from broker.domain.rounds import bare
from broker.domain.text import visible
from broker.errors import AlreadyResolved, BrokerError, Malformed, NotAnApprover, UnknownRequest, WrongMove
from broker.gateway.envelope import INVALID_PARAMS, encoded
from broker.gateway.eras import CAPABILITIES_KEY, elicits
from broker.gateway.ports import Waiting
from broker.gateway.results import Reply, waiting_marks
from broker.gateway.sessions import ASKED_PREFIX, Asked, Seals
from broker.gateway.visits import Visit

# What does not fit is not asked in a form: what can't be read whole can't be confirmed there.
LONGEST_QUESTION = 4_000
# The name of the one question, and of the one field in it.
CONFIRM = "confirm"
_WORDS = {"decline": "the caller's own user declined", "cancel": "the caller's own user put the question away"}


class Confirming:
    """Asks, and counts answers. `page` is the address of the broker's pages, empty where people can't be sent there."""

    def __init__(self, desk: Waiting, seals: Seals, clock: Callable[[], datetime], *, page: str, mask_key: bytes) -> None:
        self._desk = desk
        self._seals = seals
        self._clock = clock
        self._page = page.rstrip("/")
        self._mask_key = mask_key

    # -- asking -------------------------------------------------------------------------------------------

    def required(self, visit: Visit, request: ApprovalRequest) -> Reply | None:
        """Return `input_required` for a newer client whose own user may confirm and can be asked."""
        question = self._question(request, elicits(visit.message.meta.get(CAPABILITIES_KEY))) if visit.modern else None
        if question is None:
            return None
        result = {
            "resultType": "input_required",
            "inputRequests": {CONFIRM: {"method": "elicitation/create", "params": question}},
            "requestState": self._sealed(visit, request, str(question["mode"])),
            "_meta": waiting_marks(request),
        }
        return Reply(result)

    def created(self, visit: Visit, request: ApprovalRequest) -> bytes:
        """Return `elicitation/create` for the stream of an older client in a session; empty where it can't be asked."""
        session = visit.session
        question = self._question(request, tuple(session.elicits.split())) if session and visit.head.takes_stream else None
        if question is None:
            return b""
        rpc_id = self._sealed(visit, request, question["mode"])
        if question["mode"] == "url":
            question["elicitationId"] = request.id
        elif visit.version < "2025-11-25":
            del question["mode"]
        return encoded({"jsonrpc": "2.0", "id": rpc_id, "method": "elicitation/create", "params": question})

    def _sealed(self, visit: Visit, request: ApprovalRequest, mode: str) -> str:
        asked = Asked(request.id, request.digest, request.expires_at.timestamp(), secrets.token_urlsafe(12), mode)
        return self._seals.asked(asked, visit.caller, visit.server.name)

    def _question(self, request: ApprovalRequest, ways: tuple[str, ...]) -> dict[str, Any] | None:
        if request.state is not RequestState.PENDING or not may_confirm(request):
            return None
        words = _words(request, self._mask_key)
        if "form" in ways and not request.plan.type_to_confirm and words and len(words) <= LONGEST_QUESTION:
            return {"mode": "form", "message": words, "requestedSchema": _SCHEMA}
        if "url" in ways and self._page:
            told = f"Your agent wants to call {visible(request.call.tool, keep='')}. Sign in to look at it and decide."
            return {"mode": "url", "message": told, "url": f"{self._page}/r/{request.id}"}
        return None

    # -- answers ------------------------------------------------------------------------------------------

    async def answered(self, visit: Visit, state: str, call: ToolCall) -> ApprovalRequest:
        """Count what a newer client brings back with `call`, and return the request.

        Raises `Malformed` for what was not handed out for this call and caller, is too late, or was used before.
        """
        asked = self._opened(visit, state)
        request = await self._found(visit, asked)
        if bare(call).digest() != bare(request.call).digest():
            raise _refused("it belongs to another call")
        answers = visit.message.params.get("inputResponses")
        answer = answers.get(CONFIRM) if isinstance(answers, dict) else None
        return await self._counted(visit, asked, request, answer)

    async def heard(self, visit: Visit) -> None:
        """Count the answer of an older client to what it was asked on its stream. What is no answer decides nothing."""
        asked = self._opened(visit, str(visit.message.id))
        if isinstance(answer := visit.message.body.get("result"), dict):
            await self._counted(visit, asked, await self._found(visit, asked), answer)

    def _opened(self, visit: Visit, state: str) -> Asked:
        asked = self._seals.open_asked(state, visit.caller, visit.server.name)
        if asked is None:
            raise _refused("it was not handed out to this caller")
        if self._clock().timestamp() >= asked.until:
            raise _refused("it is too late")
        return asked

    async def _found(self, visit: Visit, asked: Asked) -> ApprovalRequest:
        try:
            return await self._desk.fetched(asked.request, visit.caller)
        except UnknownRequest:
            raise _refused("there is no such request") from None

    async def _counted(self, visit: Visit, asked: Asked, request: ApprovalRequest, answer: Any) -> ApprovalRequest:
        if asked.nonce in request.spent:
            raise _refused("it was used before: make the same call without it")
        said = _said(answer, asked.mode)
        if said is None:
            return request  # they were sent to the page, and decide there
        verdict, why = said
        person = visit.caller.user or visit.caller.owner
        view = digest_of(_words(request, self._mask_key))
        given = Confirmation(person, verdict, asked.digest, Way.FORM, _client(visit), asked.nonce, why, view)
        try:
            return await self._desk.confirm(request.id, given)
        except (WrongMove, NotAnApprover) as error:
            raise _refused(error.message) from None
        except AlreadyResolved:
            return await self._desk.fetched(asked.request, visit.caller)  # others were quicker: the caller reads how it ended


_SCHEMA = {
    "type": "object",
    "properties": {
        CONFIRM: {"type": "boolean", "title": "Run this call", "description": "It runs once, with exactly these arguments."}
    },
    "required": [CONFIRM],
}


def _said(answer: Any, mode: str) -> tuple[Verdict, str] | None:
    """Return what an answer counts for; None where the page has the word. Raises `Malformed` for what says nothing."""
    action = answer.get("action") if isinstance(answer, dict) else None
    if action in ("decline", "cancel"):
        return Verdict.REJECT, _WORDS[action]
    if action != "accept":
        raise _refused(f"`{CONFIRM}` needs an action: accept, decline or cancel")
    if mode == "url":
        return None
    content = answer.get("content")
    yes = content.get(CONFIRM) if isinstance(content, dict) else None
    if not isinstance(yes, bool):
        raise _refused(f"`{CONFIRM}` has to be true or false")
    return (Verdict.APPROVE, "") if yes else (Verdict.REJECT, _WORDS["decline"])


def _words(request: ApprovalRequest, mask_key: bytes) -> str:
    """Return the question, empty where something would be covered that the user has to see."""
    shown = shown_call(request.call, request.plan, mask_key)
    if not shown.whole:
        return ""
    call = request.call
    told = [f"Your agent asks to call {visible(call.tool, keep='')} on {call.server}: {visible(shown.title, keep='')}", ""]
    told.append(visible(json.dumps(shown.arguments, ensure_ascii=False, indent=2)))
    if shown.rest:
        told.append("Beside the arguments: " + visible(json.dumps(shown.rest, ensure_ascii=False, indent=2)))
    return "\n".join([*told, "", f"Fingerprint {request.digest.removeprefix('sha256:')[:16]}. Should it run?"])


def _client(visit: Visit) -> str:
    session = visit.session
    name, version = (visit.caller.client, visit.caller.client_version) if visit.caller.client or session is None else (
        session.client, session.version
    )  # fmt: skip
    return f"{name} {version}".strip()


def is_asked(text: Any) -> bool:
    """Was it handed out with a question of ours, as far as its beginning says? Servers hand out state and ids as well."""
    return isinstance(text, str) and text.startswith(ASKED_PREFIX)


def _refused(why: str) -> BrokerError:
    return Malformed(f"this confirmation does not count: {why}", rpc=INVALID_PARAMS)
