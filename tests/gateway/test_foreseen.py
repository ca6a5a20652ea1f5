"""A forecast, the list of tools and the call itself agree, through the real gateway: random rules and callers on a fixed seed."""

from __future__ import annotations

import random
from typing import Any

import httpx2
import msgspec
import pytest

from broker.approvals.forecast import Forecaster
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Effect
from broker.store.open import Store
from tests.gateway.rig import CALLERS, Policies, Rig, clock
from tests.gateway.wire import call, modern, post

GROUPS = ("ads-eng", "finance", "contractors")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "balance": {"account": "a"}, "transfer": {"to": "a", "amount": 3}, "burn": {"amount": 3}, "echo": {"text": "a"},
}  # fmt: skip


def rules(chance: random.Random) -> str:
    written = [
        {
            "id": f"rule-{index}",
            "effect": chance.choice(["allow", "allow", "require_approval", "deny"]),
            "match": {
                "tool": chance.choice(["*", *ARGUMENTS]),
                **chance.choice([{}, {"groups_any": [chance.choice(GROUPS)]}, {"surfaces": ["webapp"]}]),
            },
            **chance.choice([{}, {}, {"when": "args.amount > 2"}]),
        }
        for index in range(5)
    ]
    defaults = {"unmatched": chance.choice(["deny", "allow"]), "approval": {"all_of": [{"group": "finance"}]}}
    return msgspec.json.encode({"defaults": defaults, "rules": written}).decode()


WORDS = {"denied": Effect.DENY, "pending": Effect.REQUIRE_APPROVAL}
POLICIES = 8


def caller(chance: random.Random) -> Caller:
    groups = tuple(sorted(chance.sample(GROUPS, chance.randrange(3))))
    surface = chance.choice(["", "webapp", "ide"])
    return Caller(agent=f"bot-{surface}", user="eve@example.com", groups=groups, surface=surface)


async def enforced(http: httpx2.AsyncClient, rig: Rig, who: str, tool: str) -> Effect:
    """What really happens to a call."""
    answer = await post(http, rig.mcp(), call(tool, ARGUMENTS[tool]), authorization=f"Bearer {who}")
    meta = answer.json().get("result", {}).get("_meta", {})
    return WORDS.get(meta.get("approval-broker/code", ""), Effect.ALLOW)


async def listed(http: httpx2.AsyncClient, rig: Rig, who: str) -> set[str]:
    answer = await post(http, rig.mcp(), modern("tools/list"), authorization=f"Bearer {who}")
    return {tool["name"] for tool in answer.json()["result"]["tools"]}


async def test_what_is_foreseen_and_what_is_listed_is_what_the_broker_enforces(
    store: Store, policies: Policies, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, met = random.Random(11), set[Effect]()
    async with Rig(store, policies, hold=0.0).running() as rig:
        forecasts = Forecaster(policies, rig.tools, store.counters, _offered, clock=clock)
        for number in range(POLICIES):
            policies.write(rules=rules(chance))
            for who in (f"{number}-{index}" for index in range(3)):
                monkeypatch.setitem(CALLERS, who, caller(chance))
                shown = await listed(http, rig, who)
                for tool, arguments in ARGUMENTS.items():
                    asked = ToolCall("ledger", tool, {"name": tool, "arguments": arguments}, CALLERS[who])
                    effect = await enforced(http, rig, who, tool)
                    assert (await forecasts.call(asked, own=True)).effect is effect
                    assert effect in (await forecasts.tool("ledger", tool, CALLERS[who])).effects
                    assert tool in shown or effect is Effect.DENY
                    met.add(effect)
    assert met == set(Effect)


async def _offered(server: str) -> tuple[str, ...]:
    return tuple(ARGUMENTS)
