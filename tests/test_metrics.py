"""Figures for Prometheus: what they count, and what they do not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from broker.domain import events
from broker.domain.calls import Caller
from broker.metrics import Metrics

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MOVE: dict[str, Any] = {"request": "apr_0_1", "version": 2, "at": NOON}
ANSWER: dict[str, Any] = {"reviewer": "bo", "verdict": "approve", "channel": "web", "digest": "d"}


def test_a_request_is_counted_once_in_each_state_that_it_is_led_to() -> None:
    metrics = Metrics()
    for event in (
        events.Opened(
            **MOVE,
            state="pending",
            caller=Caller(),
            server="s",
            tool="t",
            digest="d",
            policy="p",
            definition="f",
            rules=(),
            expires_at=NOON,
        ),
        events.Commented(**MOVE, state="pending", who="bo", channel="web", text="hm"),
        events.Escalated(**MOVE, state="pending", groups=("g",)),
        events.Reviewed(**MOVE, state="pending", **ANSWER),
        events.Reviewed(**MOVE, state="approved", **ANSWER),
        events.Claimed(**MOVE, state="executing", fence=1, policy="p", definition="f"),
        events.Finished(**MOVE, state="completed", fence=1),
        events.Delivered(**MOVE, state="completed"),
    ):
        metrics.observe(event, None)
    families = text_string_to_metric_families(metrics.text(store_up=True, problems=0, pending=0).decode())
    samples = [sample for family in families for sample in family.samples]
    assert [one.labels for one in samples if one.name == "approval_broker_calls_total"] == [
        {"server": "s", "effect": "require_approval"}
    ]
    assert {one.labels["state"]: one.value for one in samples if one.name == "approval_broker_requests_total"} == {
        "pending": 1, "approved": 1, "executing": 1, "completed": 1,
    }  # fmt: skip
