"""For servers written with the mcp SDK: a tool that runs only with a valid receipt, so nobody gets to it around the broker.

@server.tool()
@guarded(server="payments", keys="https://approvals.example.com/.well-known/jwks.json")
def refund_create(customer: str, amount: float) -> str: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from broker.audit.receipts import RECEIPT, ReceiptInvalid, checked
from broker.within import KeysAway, checked_first, public_keys, raw_params


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

    async def check(context: Context[Any], name: str) -> None:
        params = raw_params(context)
        token = (params.get("_meta") or {}).get(RECEIPT, "")
        try:
            receipt = checked(
                token, await public_keys(keys), server=server, tool=params.get("name", name),
                arguments=params.get("arguments") or {}, now=datetime.now(UTC), issuer=issuer,
            )  # fmt: skip
        except ReceiptInvalid as error:
            raise ToolError(f"this tool runs only with an approval: {error.message}") from None
        except KeysAway as error:
            raise ToolError(f"this tool runs only with an approval: {error}") from None
        if not await memory.first(receipt.jti, datetime.fromtimestamp(receipt.exp + 60, UTC)):
            raise ToolError("this tool runs only with an approval: the receipt was used before")

    return checked_first(check)
