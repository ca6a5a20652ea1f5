"""Calls as Prometheus counts them: by what became of them, and with no label that grows with what callers say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from broker.call_metrics import SURFACES, CallMetrics
from broker.domain import events
from broker.domain.calls import Caller
from broker.domain.requests import RequestState
from tests.channels.slack.samples import a_request

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANN = Caller(user="ann@example.com", surface="webapp")
MOVE = {"request": "apr_0_1", "version": 2, "at": NOON}


@pytest.fixture
def counted() -> tuple[CallMetrics, CollectorRegistry]:
    registry = CollectorRegistry()
    metrics = CallMetrics(registry)
    metrics.serving(lambda server, tool: tool in ("ask", "refund_create"))
    return metrics, registry


def values(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    samples = [sample for family in registry.collect() for sample in family.samples if sample.name.endswith("_total")]
    return {(one.labels["tool"], one.labels["surface"], one.labels["outcome"]): one.value for one in samples}


S = RequestState


@pytest.mark.parametrize(
    ("event", "state", "outcome"),
    [
        (events.Finished(**MOVE, state="completed", fence=1), S.COMPLETED, "succeeded"),
        (events.Finished(**MOVE, state="completed", fence=1, why="the tool answered with an error"), S.COMPLETED, "failed"),
        (events.Finished(**MOVE, state="failed", fence=1), S.FAILED, "failed"),
        (events.Lost(**MOVE, state="unknown", fence=1), S.UNKNOWN, "unknown"),
        (events.Ended(**MOVE, state="expired", why="late"), S.EXPIRED, "expired"),
        (events.Ended(**MOVE, state="cancelled", why="done"), S.CANCELLED, "cancelled"),
        (
            events.Reviewed(**MOVE, state="rejected", reviewer="bo", verdict="reject", channel="web", digest="d"),
            S.REJECTED, "rejected",
        ),
    ],
)  # fmt: skip
def test_a_request_counts_once_when_it_has_ended(
    counted: tuple[CallMetrics, CollectorRegistry], event: events.Event, state: RequestState, outcome: str
) -> None:
    metrics, registry = counted
    request = a_request(state, caller_surface="slack")
    metrics.observe(event, request)
    metrics.observe(events.Delivered(**MOVE, state=state.value), request)
    assert values(registry) == {("refund_create", "slack", outcome): 1.0}


def test_a_review_that_is_not_the_last_and_an_opening_count_nothing_yet(
    counted: tuple[CallMetrics, CollectorRegistry],
) -> None:
    metrics, registry = counted
    review = events.Reviewed(**MOVE, state="pending", reviewer="bo", verdict="approve", channel="web", digest="d")
    metrics.observe(review, a_request())
    metrics.observe(events.Claimed(**MOVE, state="executing", fence=1, policy="p", definition="d"), a_request(S.EXECUTING))
    assert values(registry) == {}


def test_what_callers_invent_makes_no_label_and_surfaces_are_bounded(counted: tuple[CallMetrics, CollectorRegistry]) -> None:
    metrics, registry = counted
    for number in range(500):
        call = {"at": NOON, "server": "presto", "digest": "d"}
        metrics.observe(events.CallEnded(**call, caller=ANN, tool=f"made-up-{number}", outcome="failed"), None)
        metrics.observe(events.CallDecided(**call, caller=ANN, tool=f"no-{number}", effect="deny", policy="p"), None)
        other = Caller(surface=f"surface-{number}")
        metrics.answered(events.CallDecided(**call, caller=other, tool="ask", effect="allow", policy="p"))
    found = values(registry)
    assert found["other", "webapp", "failed"] == found["other", "webapp", "denied"] == 500
    assert found["ask", "other", "succeeded"] == 500 - (SURFACES - 1)
    assert len(found) == 2 + SURFACES
