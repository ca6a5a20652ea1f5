"""Traces and the log of a call's journey: one id from its arrival to its end, inside the trace of whoever called."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from broker.domain.events import Ended
from broker.errors import ConfigInvalid
from broker.tracing import tracing
from tests.channels.slack.samples import NOON, a_request
from tests.conftest import empty
from tests.fakes.scripted import Reply, Seen, answer
from tests.fakes.wired import wired

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@dataclass
class Collector:
    """What a collector of OpenTelemetry got: spans by name, as (trace, parent)."""

    url: str = ""
    spans: dict[str, tuple[str, str]] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    errors: set[str] = field(default_factory=set)

    async def take(self, request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        for span in (span for one in told.resource_spans for scope in one.scope_spans for span in scope.spans):
            self.spans[span.name] = (span.trace_id.hex(), span.parent_span_id.hex())
            self.attributes[span.name] = {item.key: item.value.string_value for item in span.attributes}
            self.ids[span.name] = span.span_id.hex()
            if span.status.code == Status.STATUS_CODE_ERROR:
                self.errors.add(span.name)
        return web.Response()


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    made, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield made
    await runner.cleanup()


async def test_a_parked_call_continues_its_callers_trace_up_to_the_server(
    collector: Collector, store_url: str, tmp_path: Path
) -> None:
    await empty(store_url)
    with structlog.testing.capture_logs() as lines:
        async with wired(store_url, tmp_path) as here:
            assert (await here.parked({"what": "hush"}, traceparent=PARENT)).status_code == 200
            [seen] = here.upstream.of("tools/call")
    assert {name: collector.spans.get(name) for name in ("park", "decide", "release")} == dict.fromkeys(
        ("park", "decide", "release"), (TRACE, SPAN)
    )
    request = collector.attributes["park"]["approval.request"]
    assert collector.attributes["release"] == {
        "approval.request": request, "approval.state": "executing", "mcp.server": "tools", "gen_ai.tool.name": "park_me",
    }  # fmt: skip
    assert (seen.message or {})["params"]["_meta"]["traceparent"] == f"00-{TRACE}-{collector.ids['release']}-01"
    steps = [line for line in lines if line["event"].startswith("request.")]
    assert [(line["event"], line["state"]) for line in steps] == [
        ("request.opened", "pending"), ("request.reviewed", "approved"), ("request.claimed", "executing"),
        ("request.finished", "completed"), ("request.delivered", "completed"),
    ]  # fmt: skip
    assert {(line["trace"], line["request"]) for line in steps} == {(TRACE, request)}
    assert "hush" not in json.dumps([str(line) for line in lines]) + str(collector.attributes)


async def test_a_tool_that_answers_with_an_error_makes_the_span_of_its_release_one_in_error(
    collector: Collector, store_url: str, tmp_path: Path
) -> None:
    async def errored(seen: Seen, reply: Reply) -> None:
        await reply.json(answer(seen, {"content": [], "isError": True}))

    await empty(store_url)
    async with wired(store_url, tmp_path) as here:
        here.upstream.on["tools/call"] = errored
        await here.parked({"what": "one"})
    assert (collector.errors, sorted(collector.spans)) == ({"release"}, ["decide", "park", "release"])


async def test_without_the_variables_nothing_is_traced_and_the_journey_has_an_id_all_the_same(
    monkeypatch: pytest.MonkeyPatch, store_url: str, tmp_path: Path
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert tracing() is None
    await empty(store_url)
    with structlog.testing.capture_logs() as lines:
        async with wired(store_url, tmp_path) as here:
            await here.parked()
            [seen] = here.upstream.of("tools/call")
    assert "traceparent" not in (seen.message or {})["params"]["_meta"]
    [trace] = {line["trace"] for line in lines if line["event"].startswith("request.")}
    assert len(bytes.fromhex(trace)) == 16


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False), ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True), ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, True),
    ],
)  # fmt: skip
def test_the_standard_variables_turn_traces_on_and_off(variables: dict[str, str], on: bool) -> None:
    made = tracing(variables)
    assert (made is not None) is on
    if made is not None:
        made.close()


def test_a_collector_that_does_not_answer_keeps_no_broker_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.tracing.SENDING", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        made = tracing()
        assert made is not None
        made.observe(Ended(request="apr_0_1", version=2, at=NOON, state="expired", why="late"), a_request())
        began = time.monotonic()
        made.close()
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_TRACES_EXPORTER": "zipkin"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}],
)
def test_an_exporter_that_is_not_there_is_named(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match="OTEL_"):
        tracing(variables)
