from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from broker.audit.keys import signing_key
from broker.audit.receipts import RECEIPT, Issuer
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, Claim, RequestId, RequestState
from broker.guarded import guarded

ARGUMENTS = {"customer": "acme", "amount": 900}


class Shop:
    """A toy server whose refund is guarded, and the broker's key."""

    def __init__(self, folder: Path) -> None:
        self.key = signing_key(folder / "key.pem")
        self.refunds: list[tuple[str, float]] = []
        self.server = MCPServer("payments")

        @self.server.tool()
        @guarded(server="payments", keys={"keys": [self.key.public()]})
        def refund_create(customer: str, amount: float) -> str:
            """Pay money back."""
            self.refunds.append((customer, amount))
            return "refunded"

    def receipt(self, at: datetime | None = None, **changes: Any) -> str:
        now = at or datetime.now(UTC)
        call = ToolCall("payments", "refund_create", {"name": "refund_create", "arguments": {**ARGUMENTS, **changes}}, Caller())
        plan = ApprovalPlan("Refund", (RuleApproval("refunds", (Requirement("finance"),)),), timedelta(minutes=5))
        request = ApprovalRequest(
            id=RequestId("apr_0_" + "a" * 26), version=3, state=RequestState.EXECUTING, call=call, digest=call.digest(),
            plan=plan, policy="p", definition="d", rules=("refunds",), reasons=(), opened_at=now, expires_at=now,
            claim=Claim(1, "broker-1", "n", now),
        )  # fmt: skip
        return Issuer(self.key, "https://approvals.example.com").receipt(request, now)

    async def call(self, receipt: str | None, **changes: Any) -> str:
        meta: Any = {RECEIPT: receipt} if receipt is not None else None
        async with Client(self.server) as client:
            result = await client.call_tool("refund_create", {**ARGUMENTS, **changes}, meta=meta)
            return msgspec.json.encode([block.model_dump() for block in result.content]).decode()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def test_a_released_call_runs(shop: Shop) -> None:
    assert "refunded" in await shop.call(shop.receipt())
    assert shop.refunds == [("acme", 900)]


async def test_a_direct_call_an_old_receipt_and_one_for_other_arguments_are_refused(shop: Shop) -> None:
    answers = [
        await shop.call(None),
        await shop.call("no receipt"),
        await shop.call(shop.receipt(at=datetime.now(UTC) - timedelta(minutes=10))),
        await shop.call(shop.receipt(), amount=901),
        await shop.call(shop.receipt(amount="900"), amount=900),
    ]
    assert ["only with an approval" in answer for answer in answers] == [True] * 5
    assert shop.refunds == []


async def test_a_receipt_is_good_for_one_call(shop: Shop) -> None:
    receipt = shop.receipt()
    await shop.call(receipt)
    assert "was used before" in await shop.call(receipt)
    assert shop.refunds == [("acme", 900)]


async def test_the_schema_that_agents_see_is_the_tools_own(shop: Shop) -> None:
    async with Client(shop.server) as client:
        (tool,) = (await client.list_tools()).tools
    assert sorted(tool.input_schema["properties"]) == ["amount", "customer"]
