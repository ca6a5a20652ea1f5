"""A month of a firm's calls and decisions, as its audit holds them: for the figures."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from broker.domain.calls import Caller, ToolCall
from broker.domain.events import CallDecided, Ended, Opened, Reviewed
from broker.insights.feedback import CHOICES, Said
from broker.insights.usage import month_of
from broker.policy.replay import Recorded, Was
from broker.registry.widened import Widened
from broker.store.open import Store
from tests.channels.web.conftest import ANN


async def past_days(store: Store) -> None:
    """A month of calls and decisions, for the figures."""
    chance, now = random.Random(7), datetime.now(UTC)
    for number in range(40):
        store.recordings.put(_small_refund(now - timedelta(days=20 - number / 2), chance.randint(5, 99)))
    await store.recordings.flush()
    await _said(store, now)
    for back in range(29, 0, -1):
        for number in range(chance.randint(2, 9)):
            at = now - timedelta(days=back, minutes=chance.randint(1, 400))
            told: dict[str, Any] = {
                "caller": Caller(agent="billing-bot"),
                "server": "payments",
                "tool": "refund_create",
                "digest": "d",
            }
            await store.audit.append(
                CallDecided(
                    at=at, effect="allow", policy="p", rules=("refund-small",), shadow=("refund-evening",) * (number % 2), **told
                )
            )
        for number in range(chance.randint(0, 4)):
            at, request = now - timedelta(days=back, minutes=chance.randint(30, 400)), f"apr_0_past{back}x{number}"
            moved = {"request": request, "version": 1}
            await store.audit.append(
                Opened(at=at, state="pending", definition="", policy="p", rules=("refund-large",), expires_at=at, **moved, **told)
            )
            took = timedelta(seconds=chance.choice((1, 40, 90, 300, 1200)))
            if chance.random() < 0.15:
                await store.audit.append(Ended(at=at + took, state="expired", why="nobody decided in time", **moved))
                continue
            verdict = "approve" if chance.random() < 0.8 else "reject"
            await store.audit.append(
                Reviewed(
                    at=at + took,
                    state="approved" if verdict == "approve" else "rejected",
                    reviewer=ANN,
                    verdict=verdict,
                    channel="web",
                    digest="d",
                    groups=("finance",),
                    **moved,
                )
            )


def _small_refund(at: datetime, amount: int) -> bytes:
    params = {"name": "refund_create", "arguments": {"customer": "Acme Lamps", "amount": amount, "currency": "EUR"}}
    call = ToolCall("payments", "refund_create", params, Caller(agent="billing-bot"))
    return msgspec.json.encode(Recorded(at, call, was=Was("allow", ("refund-small",))))


async def _said(store: Store, now: datetime) -> None:
    """What people said of results this month, and that an edit of the files let somebody in."""
    chance = random.Random(8)
    for number in range(25):
        said = Said("payments", chance.choice(("refund_create", "refund_get")), 6.0, chance.choice(CHOICES))
        await store.feedback.put(month_of(now.date()), f"apr_0_{number} person-{number}", said)
    await store.usage.add({}, {}, {now.date(): {(ANN, "payments", "refund_list")}})
    told = "this widens access by support and 2 people of people.yaml"
    await store.widened.put("payments", msgspec.json.encode(Widened(now - timedelta(hours=3), "p", told, ("support",), 2)))
