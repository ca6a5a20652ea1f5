"""A server.json as its owner would write it, with members changed or, where None, left out."""

from __future__ import annotations

from typing import Any

from broker.registry.offers import OURS
from broker.registry.server_json import PUBLISHER


def server_json(name: str = "com.example/payments", version: str = "1.0.0", **changed: Any) -> dict[str, Any]:
    """`owner`, `groups`, `tools`, `sign_in`, `support`, `team` go into the offer; everything else is the document's."""
    offer: dict[str, Any] = {
        "owner": "payments", "team": "Payments", "support": ["slack:#payments-help"], "groups": ["support"],
        "tools": {"balance": {"read_only": True, "destructive": False}, "transfer": {"destructive": True, "read_only": False}},
        "sign_in": "any",
    }  # fmt: skip
    offer |= {key: changed.pop(key) for key in tuple(changed) if key in offer}
    offer = {key: value for key, value in offer.items() if value is not None}
    url = changed.pop("url", "https://payments.example.com/mcp")
    document = {
        "name": name, "description": "Refunds and payouts", "version": version,
        "remotes": [{"type": "streamable-http", "url": url}],
        "_meta": {PUBLISHER: {OURS: offer}}, **changed,
    }  # fmt: skip
    return {key: value for key, value in document.items() if value is not None}
