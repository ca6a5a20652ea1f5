"""Calls for Prometheus: by server, tool, surface and what became of them. No person is a label, nor what callers invent."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from broker.domain.calls import Caller
from broker.domain.events import CallDecided, CallEnded, Confirmed, Ended, Event, Finished, Lost, Reviewed
from broker.domain.requests import ApprovalRequest, RequestState

# What is no tool that its server is known for, and a surface beyond so many of them.
OTHER = "other"
SURFACES = 50

Known = Callable[[str, str], bool]
"""Is this (server, tool) known to somebody but its caller?"""


class CallMetrics:
    """`observe` takes events as they are written, `answered` the calls that passed at once and had a result: no event says so."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "approval_broker_tool_calls",
            "tool calls that have ended, by server, tool, verified surface and outcome",
            ("server", "tool", "surface", "outcome"),
            registry=registry,
        )
        self._known: Known = lambda server, tool: False
        self._surfaces: set[str] = set()
        self._children: dict[tuple[str, str, str, str], Counter] = {}

    def serving(self, known: Known) -> None:
        """Take what tells tools from names that callers made up."""
        self._known = known

    def answered(self, event: CallDecided) -> None:
        """An allowed call was answered with a result."""
        self._count(event.caller, event.server, event.tool, "succeeded")

    def observe(self, event: Event, request: ApprovalRequest | None) -> None:
        match event:
            case CallDecided(effect="deny"):
                self._count(event.caller, event.server, event.tool, "denied")
            case CallEnded():
                self._count(event.caller, event.server, event.tool, "failed")
            case Finished() if request is not None:
                self._of(request, "succeeded" if request.state is RequestState.COMPLETED and not event.why else "failed")
            case Ended() | Lost() if request is not None:
                self._of(request, request.state.value)
            case Reviewed() | Confirmed() if request is not None and request.state is RequestState.REJECTED:
                self._of(request, request.state.value)
            case _:
                return

    def _of(self, request: ApprovalRequest, outcome: str) -> None:
        self._count(request.call.caller, request.call.server, request.call.tool, outcome)

    def _count(self, caller: Caller, server: str, tool: str, outcome: str) -> None:
        key = (server, tool, caller.surface, outcome)
        child = self._children.get(key)
        if child is None:
            known, surface = self._known(server, tool), self._surface(caller.surface)
            child = self._calls.labels(server, tool if known else OTHER, surface, outcome)
            if known and surface == caller.surface:
                self._children[key] = child
        child.inc()

    def _surface(self, name: str) -> str:
        if name in self._surfaces or len(self._surfaces) < SURFACES:
            self._surfaces.add(name)
            return name
        return OTHER
