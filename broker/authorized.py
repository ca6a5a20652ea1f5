"""For servers written with the mcp SDK: a tool for members of some groups alone, whatever the broker in front lets through.

@server.tool()
@authorize_tool(policy="ads-eng", identity=told_by_broker("metrics", "https://approvals.example.com/.well-known/jwks.json"))
def get_revenue_metrics(quarter: str) -> str: ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from broker.audit.receipts import RECEIPT, ReceiptInvalid, checked
from broker.domain.calls import Caller
from broker.errors import Unauthenticated
from broker.identity.access_tokens import AccessTokens
from broker.identity.assertions import HEADER, introduced
from broker.identity.issuers import Issuer
from broker.within import KeysAway, checked_first, public_keys, raw_params

Identity = Callable[[Context[Any]], Awaitable[Caller]]
"""Who makes a request. Raises `Unauthenticated` where that can't be known."""

Policy = str | Collection[str] | Callable[[Caller], bool]
"""A group, groups of which one suffices, or a question about who calls."""


def authorize_tool(*, policy: Policy, identity: Identity) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator for a tool that runs only for whom the policy names. It may stand beside `guarded`."""
    allows = policy if callable(policy) else _members({policy} if isinstance(policy, str) else set(policy))

    async def check(context: Context[Any], name: str) -> None:
        try:
            caller = await identity(context)
        except Unauthenticated as error:
            raise ToolError(f"not authorized: {error.message}") from None
        if not allows(caller):
            raise ToolError(f"not authorized: the policy of {name} does not name you")

    return checked_first(check)


def told_by_broker(server: str, keys: str | Mapping[str, Any], *, issuer: str = "") -> Identity:
    """The identity that the broker passes on: its signed statement in the head, or the receipt of a released call.

    `server` is the name in the catalogue, whose entry says `tell_caller: true`; `keys` the broker's JWKS or its address.
    A receipt names the groups of the caller and nobody.
    """

    async def who(context: Context[Any]) -> Caller:
        statement, params = _head(context, HEADER), raw_params(context)
        receipt = (params.get("_meta") or {}).get(RECEIPT, "")
        if not statement and not receipt:
            raise Unauthenticated("nothing says who calls")
        try:
            known, now = await public_keys(keys), datetime.now(UTC)
            if statement:
                return introduced(statement, known, server=server, issuer=issuer, now=now)
            told = checked(
                receipt, known, server=server, tool=params.get("name", ""), arguments=params.get("arguments") or {}, now=now,
                issuer=issuer,
            )  # fmt: skip
        except ReceiptInvalid as error:
            raise Unauthenticated(error.message) from None
        except KeysAway as error:
            raise Unauthenticated(str(error)) from None
        return Caller(groups=told.caller_groups)

    return who


def told_by_token(issuer: Issuer, *, resource: str) -> Identity:
    """The identity of an access token in the head, as `issuer` signs it. `resource` is this server's own address."""
    tokens = AccessTokens([issuer], base=resource, clock=lambda: datetime.now(UTC))

    async def who(context: Context[Any]) -> Caller:
        scheme, _, token = _head(context, "authorization").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("a bearer token is needed")
        return await tokens.authenticate(token.strip())

    return who


def _members(groups: Collection[str]) -> Callable[[Caller], bool]:
    return lambda caller: not set(groups).isdisjoint(caller.groups)


def _head(context: Context[Any], name: str) -> str:
    """Return a header of the request, empty where it did not come over HTTP."""
    request = context.request_context.request
    return str(request.headers.get(name, "")) if request is not None else ""
