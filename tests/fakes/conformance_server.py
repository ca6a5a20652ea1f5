"""A server of ours that offers what the official MCP conformance suite asks for, in both eras of the protocol.

python -m tests.fakes.conformance_server        prints its address, then serves until it is ended
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.fakes import conformance_content as content
from tests.fakes import conformance_tools as tools
from tests.fakes.serving import serve

Context = ServerRequestContext[Any, Any]


class Events(EventStore):
    """Keeps every event, so that a client that comes back with the last event's id hears the rest."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        seen = int(last_event_id)
        stream = self._events[seen - 1][0]
        for number, (owner, message) in enumerate(self._events[seen:], seen + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


async def _list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=tools.listed())


async def _log_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


def _schema_of(name: str) -> Mapping[str, Any] | None:
    return next((tool.input_schema for tool in tools.listed() if tool.name == name), None)


def fixture() -> Server[Any]:
    server: Server[Any] = Server(
        "conformance-fixture",
        version="1",
        get_tool_input_schema=_schema_of,
        on_list_tools=_list_tools,
        on_call_tool=tools.called,
        on_list_resources=content.list_resources,
        on_list_resource_templates=content.list_templates,
        on_read_resource=content.read,
        on_subscribe_resource=content.subscribe,
        on_unsubscribe_resource=content.unsubscribe,
        on_subscriptions_listen=ListenHandler(tools.BUS),
        on_list_prompts=content.list_prompts,
        on_get_prompt=content.get_prompt,
        on_completion=content.complete,
        on_set_logging_level=_log_level,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name))
    return server


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # the older revision's suite asks for what the newer one dropped
    serve(fixture().streamable_http_app(event_store=Events(), retry_interval=100))
