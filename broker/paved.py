"""For servers written with the mcp SDK: what each needs beside its tools, so that a new one is its tools and nothing else.

A health route for supervisors, one JSON log line a call, spans in the caller's trace (the SDK makes them; here they are sent
where the standard `OTEL_…` variables say), and who calls, by the signed word of the broker in front.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import structlog
import uvicorn
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from broker.authorized import Identity, told_by_broker
from broker.errors import ConfigInvalid
from broker.logs import configure
from broker.tracing import exporting

log = structlog.get_logger()


def caller(server: str, environment: Mapping[str, str] = os.environ) -> Identity:
    """Return who calls `server`, as the broker at `BROKER_URL` says it: see `told_by_broker`."""
    base = environment.get("BROKER_URL") or "http://127.0.0.1:8450"
    return told_by_broker(server, f"{base.rstrip('/')}/.well-known/jwks.json")


def app(server: MCPServer, *, host: str = "127.0.0.1") -> Starlette:
    """Return the ASGI app: MCP at `/mcp`, `/healthz` for supervisors. `host` is the address that it will listen on."""

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive", "tools": len(await server.list_tools())})

    server.custom_route("/healthz", methods=["GET"], include_in_schema=False)(health)
    server.middleware.append(_logged)
    return server.streamable_http_app(json_response=True, host=host)


def serve(server: MCPServer, environment: Mapping[str, str] = os.environ) -> None:
    """Run until told to stop, on `HOST` (127.0.0.1) and `PORT` (9100; 0 takes a free one). Raises `ConfigInvalid`."""
    host, port = environment.get("HOST") or "127.0.0.1", environment.get("PORT") or "9100"
    if not port.isdecimal() or int(port) > 65_535:
        raise ConfigInvalid(f"PORT={port} is no port: write a number up to 65535")
    configure("info")
    spans = exporting(environment, server.name)
    if spans is not None:
        from opentelemetry.trace import set_tracer_provider  # noqa: PLC0415 - only where spans are wanted

        set_tracer_provider(spans)
    try:
        with socket.create_server((host, int(port))) as listener:
            log.info("server.ready", url=f"http://{host}:{listener.getsockname()[1]}/mcp")
            uvicorn.Server(uvicorn.Config(app(server, host=host), log_level="warning")).run([listener])
    except OSError as error:
        raise ConfigInvalid(f"{host}:{port} can't be listened on: {error.strerror}") from None
    finally:
        if spans is not None:
            spans.shutdown()


async def _logged(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """One line a tool call: never its arguments, nor its result."""
    if ctx.method != "tools/call":
        return await call_next(ctx)
    began, failed = time.monotonic(), True
    try:
        result = await call_next(ctx)
        failed = bool(getattr(result, "is_error", False))
        return result
    finally:
        tool = str((ctx.params or {}).get("name", ""))[:128]
        log.info("tool.called", tool=tool, failed=failed, seconds=round(time.monotonic() - began, 4))
