"""For servers written with the mcp SDK: a tool that runs only with a valid receipt, so nobody gets to it around the broker.

@server.tool()
@guarded(server="payments", keys="https://approvals.example.com/.well-known/jwks.json")
def refund_create(customer: str, amount: float) -> str: ...
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx2
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from broker.audit.keys import PublicKeys
from broker.audit.receipts import RECEIPT, ReceiptInvalid, checked

_CONTEXT = "approval_context"


class Used(Protocol):
    """Remembers which receipts ran. A server with several processes keeps them in a place that all of them share."""

    async def first(self, receipt_id: str, until: datetime) -> bool:
        """Return whether this is the first use; remember it until then."""
        ...


class UsedHere:
    """Receipts used in this process."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}

    async def first(self, receipt_id: str, until: datetime) -> bool:
        now = datetime.now(UTC)
        self._until = {used: end for used, end in self._until.items() if end > now}
        return self._until.setdefault(receipt_id, until) is until


def guarded(
    *, server: str, keys: str | Mapping[str, Any], used: Used | None = None, issuer: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # fmt: skip
    """Return a decorator for a tool of `server`, as the catalogue names it. `keys` is the broker's JWKS, or its address.

    The tool is refused without a receipt, with an old or used one, and with one for another call: the raw arguments count,
    before any coercion.
    """
    memory = used or UsedHere()

    def decorate(tool: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(tool)
        async def with_receipt(*args: Any, **kwargs: Any) -> Any:
            await _check(kwargs.pop(_CONTEXT), tool.__name__)
            result = tool(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        async def _check(context: Context[Any], name: str) -> None:
            params = context.request_context.params or {}
            token = (params.get("_meta") or {}).get(RECEIPT, "")
            try:
                receipt = checked(
                    token, await _keys(keys), server=server, tool=params.get("name", name),
                    arguments=params.get("arguments") or {}, now=datetime.now(UTC), issuer=issuer,
                )  # fmt: skip
            except ReceiptInvalid as error:
                raise ToolError(f"this tool runs only with an approval: {error.message}") from None
            if not await memory.first(receipt.jti, datetime.fromtimestamp(receipt.exp + 60, UTC)):
                raise ToolError("this tool runs only with an approval: the receipt was used before")

        return _taking_context(with_receipt, tool)

    return decorate


def _taking_context(wrapper: Callable[..., Any], tool: Callable[..., Any]) -> Callable[..., Any]:
    """Let the SDK hand in the request's context, beside whatever the tool takes itself."""
    plain = inspect.signature(tool, eval_str=True)
    extra = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=Context)
    wrapper.__signature__ = plain.replace(parameters=[*plain.parameters.values(), extra])  # type: ignore[attr-defined]  # PEP 362
    wrapper.__annotations__ = {**typing.get_type_hints(tool), _CONTEXT: Context}
    return wrapper


async def _keys(source: str | Mapping[str, Any]) -> PublicKeys:
    """A receipt is rare and waits for people: the keys of an address are asked for each time, so that rotation just works."""
    if not isinstance(source, str):
        return PublicKeys(source)
    try:
        async with httpx2.AsyncClient(timeout=5) as client:
            return PublicKeys((await client.get(source)).raise_for_status().json())
    except (httpx2.HTTPError, ValueError, KeyError) as error:
        raise ReceiptInvalid(f"the broker's keys can't be fetched: {type(error).__name__}") from None
