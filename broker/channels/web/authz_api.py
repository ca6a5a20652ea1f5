"""May this person use that tool? For services that ask before an agent calls: `POST /api/authz/check`.

An answer is a forecast by the rules that the broker enforces, and no permission: the call is judged again when it is made.
Asking changes nothing. Whoever brings a credential asks about themselves; about others asks who has the scope `authz`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

import msgspec
from litestar import post
from litestar.params import JSONBody

from broker.approvals.forecast import Forecaster
from broker.channels.web.parts import Web
from broker.channels.web.ports import Authenticate, Token
from broker.channels.web.visitors import AnyRequest
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Allow, Decision, Deny, Effect, RequireApproval
from broker.errors import Forbidden, Malformed, Unauthenticated
from broker.policy.outlook import Outlook

DEPENDS = "depends"
_WORDS = {Effect.ALLOW: "allow", Effect.REQUIRE_APPROVAL: "needs_approval", Effect.DENY: "deny"}


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`user` or `token` (an agent's, or an access token) says about whom; neither is the asker.

    Without `tool` it is about all tools of the server, without `arguments` about any call of the tool. `surface` and
    `conversation` are supposed, not proved.
    """

    server: str
    tool: str = ""
    arguments: dict[str, Any] | None = None
    user: str = ""
    token: str = ""
    surface: str = ""
    conversation: str = ""

    @property
    def about_others(self) -> bool:
        return bool(self.user or self.token or self.surface or self.conversation)


class Why(msgspec.Struct, frozen=True):
    rule: str
    text: str


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """`decision` is allow, needs_approval, deny, or depends: the arguments decide, and `possible` says between what.

    `groups` are those that would be asked; `tools` has one answer for each tool where the question names none.
    """

    decision: str
    possible: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    reasons: tuple[Why, ...] = ()
    groups: tuple[str, ...] = ()
    policy: str = ""
    tools: Mapping[str, Told] = {}


class Asker(msgspec.Struct, frozen=True):
    """Who asks: a caller, and whether others are their business too."""

    caller: Caller
    authz: bool = False


@post("/api/authz/check", status_code=200, opt={"anonymous": True}, tags=["authorization"])
async def check(request: AnyRequest, data: JSONBody[Question]) -> Told:
    """Say what would come of a call."""
    parts = Web.of(request).parts
    assert parts.forecasts is not None and parts.callers is not None, "the route is mounted only where both are there"
    asker = await _asker(request, parts.callers)
    if data.about_others and not asker.authz:
        raise Forbidden("asking about others needs a token with the scope `authz`", scope="authz")
    caller = await _about(data, asker, parts.callers)
    return await _told(parts.forecasts, data, caller, own=not data.about_others)


async def _asker(request: AnyRequest, callers: Authenticate) -> Asker:
    """A person's token speaks for the person, any other for the agent that brings it."""
    credential = request.headers.get("authorization")
    try:
        token: Token = await Web.of(request).parts.tokens.authenticate(credential)
    except Unauthenticated:
        return Asker(await callers(credential))
    return Asker(Caller(user=token.person), "authz" in token.scopes)


async def _about(asked: Question, asker: Asker, callers: Authenticate) -> Caller:
    if asked.user and asked.token:
        raise Malformed("a question is about a `user` or a `token`, not both")
    about = asker.caller
    if asked.token:
        about = await callers(f"Bearer {asked.token}")
    elif asked.user:
        about = Caller(user=asked.user)
    supposed = {name: getattr(asked, name) for name in ("surface", "conversation") if getattr(asked, name)}
    return msgspec.structs.replace(about, **supposed)


async def _told(forecasts: Forecaster, asked: Question, caller: Caller, *, own: bool) -> Told:
    if not asked.tool:
        if asked.arguments is not None:
            raise Malformed("arguments belong to a `tool`")
        return _of_server(await forecasts.server(asked.server, caller))
    if asked.arguments is None:
        return _foreseen(await forecasts.tool(asked.server, asked.tool, caller))
    params = {"name": asked.tool, "arguments": asked.arguments}
    return decided(await forecasts.call(ToolCall(asked.server, asked.tool, params, caller), own=own))


def _of_server(tools: Mapping[str, Outlook]) -> Told:
    """A server is denied where every tool is, or there is none."""
    told = {tool: _foreseen(found) for tool, found in tools.items()}
    possible = frozenset(effect for found in tools.values() for effect in found.effects) or {Effect.DENY}
    alike = {one.decision for one in told.values()} or {"deny"}
    return Told(alike.pop() if len(alike) == 1 else DEPENDS, _worded(possible), tools=told)


def _foreseen(found: Outlook) -> Told:
    return Told(DEPENDS, _worded(found.effects)) if found.decision is None else decided(found.decision)


def decided(decision: Decision) -> Told:
    """Return a decision as the API tells it: without the places of rules in their files."""
    reasons = tuple(Why(reason.rule, reason.text) for reason in decision.reasons)
    groups: tuple[str, ...] = ()
    match decision:
        case RequireApproval():
            groups = decision.plan.groups
        case Allow() | Deny():
            pass
        case _:
            assert_never(decision)
    word = _WORDS[decision.effect]
    return Told(word, (word,), decision.rules, reasons, groups, decision.policy)


def _worded(effects: Iterable[Effect]) -> tuple[str, ...]:
    found = frozenset(effects)
    return tuple(word for effect, word in _WORDS.items() if effect in found)


ROUTES = (check,)
