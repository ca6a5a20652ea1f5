"""Traces (OpenTelemetry), wired: how long a call took to be parked, decided and released, inside the trace of its caller.

Off unless the standard variables say where spans go (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_EXPORTER`, …); then nothing
of it is even imported. A span names the request, its server and tool, and never a person or an argument.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from broker.approvals.ports import Relay, Upstreams
from broker.domain.events import Ended, Event, Opened, Reviewed
from broker.domain.outcomes import errored
from broker.domain.requests import ApprovalRequest, RequestState
from broker.errors import ConfigInvalid
from broker.upstream.http_release import Stamp

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

TRACEPARENT = "traceparent"
SENDING = 2.0
_HEX = re.compile(r"[0-9a-f]{32}")
_DECIDED = (RequestState.APPROVED, RequestState.REJECTED)


class Tracing:
    """Spans of this broker's part in each journey. `close` sends what is left, for at most two seconds."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("approval-broker")

    def observe(self, event: Event, request: ApprovalRequest | None) -> None:
        """Take every event that this broker has written; those that end a part of a journey become its span."""
        if request is None:
            return
        match event:
            case Opened():
                self._span("park", request, end=time.time())
            case Reviewed() if request.state in _DECIDED:
                self._span("decide", request, end=event.at.timestamp())
            case Ended():
                self._span("decide", request, end=event.at.timestamp())
            case _:
                return

    def releasing(self, upstreams: Upstreams) -> Upstreams:
        """Return `upstreams`, each of whose releases is a span."""
        return _Released(self, upstreams)

    def stamped(self, stamp: Stamp) -> Stamp:
        """Return `stamp`, which also tells the server in which span it is called (`_meta.traceparent`)."""

        def both(request: ApprovalRequest) -> Mapping[str, Any]:
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

            carrier: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(carrier)
            return {**stamp(request), **{name: value for name, value in carrier.items() if name == TRACEPARENT}}

        return both

    @contextmanager
    def release(self, request: ApprovalRequest) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            "release", context=parent_of(request), attributes=_about(request), record_exception=False
        ) as span:
            yield span

    def close(self) -> None:
        """A collector that does not answer keeps no broker from its end."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(SENDING)

    def _span(self, name: str, request: ApprovalRequest, *, end: float) -> None:
        start = int(request.opened_at.timestamp() * 1e9)
        span = self._tracer.start_span(name, context=parent_of(request), attributes=_about(request), start_time=start)
        span.end(max(int(end * 1e9), start))


class _Released:
    """The upstreams of the releaser, in spans."""

    def __init__(self, tracing: Tracing, upstreams: Upstreams) -> None:
        self._tracing = tracing
        self._upstreams = upstreams

    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        with self._tracing.release(request) as span:
            answer = await self._upstreams.execute(request, relay)
            if errored(answer):
                from opentelemetry.trace import StatusCode  # noqa: PLC0415 - only where spans are wanted

                span.set_status(StatusCode.ERROR)
            return answer


def parent_of(request: ApprovalRequest) -> Context:
    """The caller's span. A caller that brought none has a trace all the same, under a root that nobody exports."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context  # noqa: PLC0415

    span, _, flags = request.origin.parent.partition("-")
    made = hashlib.sha256(request.id.encode()).hexdigest()[:16]
    trace = request.origin.trace if _HEX.fullmatch(request.origin.trace) else made * 2
    told = SpanContext(int(trace, 16), int(span or made, 16), is_remote=True, trace_flags=TraceFlags(int(flags or "01", 16)))
    return set_span_in_context(NonRecordingSpan(told))


def tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return the tracing that the `OTEL_*` variables ask for, None where they don't. Raises `ConfigInvalid`."""
    provider = exporting(environment, "approval-broker")
    return Tracing(provider) if provider is not None else None


def exporting(environment: Mapping[str, str], service: str) -> TracerProvider | None:
    """Return what sends the spans of `service` where the `OTEL_*` variables say, None where they don't.

    Raises `ConfigInvalid`.
    """
    wanted = environment.get("OTEL_TRACES_EXPORTER", "")
    to = any(environment.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or wanted == "none" or not (wanted or to):
        return None
    if wanted not in ("", "otlp", "console"):
        raise ConfigInvalid(f"OTEL_TRACES_EXPORTER={wanted} is not known here: write otlp, console or none")
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if wanted != "console" and protocol not in (None, "http/protobuf"):
        raise ConfigInvalid(f"spans can't be sent by {protocol}: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    return _provider("console" if wanted == "console" else "otlp", service)


def _provider(exporter: str, service: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter  # noqa: PLC0415

    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()))
    return provider


def _about(request: ApprovalRequest) -> dict[str, str]:
    call = request.call
    return {
        "approval.request": request.id, "approval.state": request.state.value, "mcp.server": call.server,
        "gen_ai.tool.name": call.tool,
    }  # fmt: skip


Observe = Callable[[Event, ApprovalRequest | None], None]


def all_of(*observers: Observe | None) -> Observe:
    """Return what tells every observer in turn."""
    told = tuple(observer for observer in observers if observer is not None)

    def observe(event: Event, request: ApprovalRequest | None) -> None:
        for observer in told:
            observer(event, request)

    return observe
