"""Prometheus metrics of this broker. They count what it wrote; what all brokers share is asked of the store at each scrape."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from broker.call_metrics import CallMetrics
from broker.domain.decisions import Effect
from broker.domain.events import (
    CallDecided,
    CallEnded,
    Commented,
    Confirmed,
    Delivered,
    Escalated,
    Event,
    Opened,
    RequestEvent,
    Reviewed,
)
from broker.domain.requests import ApprovalRequest, RequestState
from broker.insights.usage import Usage

_TIMES = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_SIZES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20)


class Metrics:
    """`observe` takes every event as it is written; `text` is what `/metrics` answers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = self._counter("calls", "tool calls by what the policy said", "server", "effect")
        self._failures = self._counter("call_failures", "allowed calls that were not answered with a result", "server", "outcome")
        self._errors = self._counter("errors", "requests of agents that were answered with a mistake, by its code", "code")
        self._of_calls: dict[tuple[str, str], Counter] = {}
        self.calls = CallMetrics(self._registry)
        self._rule_errors = self._counter("rule_errors", "conditions that could not be judged, which tightens", "rule")
        self._moves = self._counter("requests", "moves of approval requests by the state they lead to", "state")
        self._reviews = self._counter("reviews", "reviews by verdict and channel", "verdict", "channel")
        self._decision = Histogram(
            "approval_broker_decision_seconds",
            "seconds from asking to the decision of people",
            buckets=_TIMES,
            registry=self._registry,
        )
        self._lists = Histogram(
            "approval_broker_tools_list_bytes",
            "bytes of a page of a server's list of tools as a caller is shown it, which fills its model's context",
            ("server",),
            buckets=_SIZES,
            registry=self._registry,
        )
        self._store = self._gauge("store_up", "1 while the store answers")
        self._policy = self._gauge("policy_problems", "problems of the policy files on disk; 0 while they are in force")
        self._pending = self._gauge("pending_requests", "requests that wait for people, over all brokers")
        self._deliveries = self._gauge(
            "deliveries", "deliveries to channels that wait for the first try, or for another", "state"
        )
        self._dead = self._gauge("dead_letters", "deliveries to channels that were given up")
        self._servers = self._gauge("servers", "servers that calls may go to")
        self._tools = self._gauge("tools", "tools that these servers offer, as last asked")
        self._month_calls = self._gauge("month_calls", "calls of this calendar month that were run, over all brokers")
        self._people = self._gauge("month_people", "people with a call in this calendar month, over all brokers")
        self._saved = self._gauge("month_saved_minutes", "minutes saved this calendar month by what the tools' owners say")

    def observe(self, event: Event, request: ApprovalRequest | None) -> None:
        """Count one event that this broker has written. `request` is the one after its move."""
        self.calls.observe(event, request)
        match event:
            case CallDecided():
                self._call(event.server, event.effect).inc()
                for rule in event.errors:
                    self._rule_errors.labels(rule).inc()
            case CallEnded():
                self._failures.labels(event.server, event.outcome).inc()
            case Commented() | Delivered() | Escalated():
                return  # the request stays where it was
            case RequestEvent():
                self._move(event, request)
            case _:
                return

    def _move(self, event: RequestEvent, request: ApprovalRequest | None) -> None:
        match event:
            case Opened():
                self._call(event.server, Effect.REQUIRE_APPROVAL.value).inc()
            case Reviewed():
                self._reviews.labels(event.verdict, event.channel).inc()
                if request is not None and request.state in (RequestState.APPROVED, RequestState.REJECTED):
                    self._decision.observe((event.at - request.opened_at).total_seconds())
            case Confirmed():
                self._reviews.labels(event.verdict, "caller").inc()
        if not (isinstance(event, Reviewed | Confirmed) and event.state == RequestState.PENDING):
            self._moves.labels(event.state).inc()  # where more than one has to answer, an answer may leave it waiting

    def listed(self, server: str, size: int) -> None:
        """A caller was shown a page of a server's tools, so many bytes."""
        self._lists.labels(server).observe(size)

    def failed(self, code: str) -> None:
        """A caller was answered with a mistake of this code."""
        self._errors.labels(code).inc()

    def _call(self, server: str, effect: str) -> Counter:
        """The counter of one server and effect: the library looks it up with a lock, and for every call."""
        key = (server, effect)
        if key not in self._of_calls:
            self._of_calls[key] = self._calls.labels(server, effect)
        return self._of_calls[key]

    def sizes(self, servers: int, tools: int) -> None:
        """Say how many servers there are, and how many tools they offer."""
        self._servers.set(servers)
        self._tools.set(tools)

    def delivering(self, waiting: int, later: int, dead: int) -> None:
        """Say how many deliveries wait, wait for another try, and were given up."""
        self._deliveries.labels("waiting").set(waiting)
        self._deliveries.labels("retrying").set(later)
        self._dead.set(dead)

    def used(self, month: Usage) -> None:
        """Say what use there was in this month."""
        self._month_calls.set(month.calls)
        self._people.set(month.people)
        self._saved.set(month.minutes)

    def text(self, *, store_up: bool, problems: int, pending: int | None) -> bytes:
        """Return the exposition text. None: the store could not be asked, and the gauge keeps its last value."""
        self._store.set(store_up)
        self._policy.set(problems)
        if pending is not None:
            self._pending.set(pending)
        return generate_latest(self._registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"approval_broker_{name}", told, labels, registry=self._registry)

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(f"approval_broker_{name}", told, labels, registry=self._registry)


Observe = Callable[[Event, ApprovalRequest | None], None]
