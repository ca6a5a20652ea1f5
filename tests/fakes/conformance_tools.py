"""Tools of the conformance fixture that both eras know: content of every kind, progress, logging, questions to the client."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged

from tests.fakes.conformance_rounds import ROUNDS, Answer, text

Context = ServerRequestContext[Any, Any]
Handler = Callable[[Context, types.CallToolRequestParams], Awaitable[Answer]]

PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
).decode()
WAV = base64.b64encode(
    b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00@\x1f\x00\x00\x01\x00\x08\x00data\x00\x00\x00\x00"
).decode()

BUS = InMemorySubscriptionBus()
"""List changes of the newer era go out here; open `subscriptions/listen` streams hear them."""

_NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


def embedded(uri: str, mime_type: str, words: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=words))


_FIXED: dict[str, tuple[str, types.CallToolResult]] = {
    "test_simple_text": ("Answers with text", text("This is a simple text response for testing.")),
    "test_error_handling": ("Always fails", text("This tool intentionally returns an error for testing", is_error=True)),
    "test_image_content": (
        "Answers with an image",
        types.CallToolResult(content=[types.ImageContent(data=PNG, mime_type="image/png")]),
    ),
    "test_audio_content": (
        "Answers with sound",
        types.CallToolResult(content=[types.AudioContent(data=WAV, mime_type="audio/wav")]),
    ),
    "test_embedded_resource": (
        "Answers with a resource",
        types.CallToolResult(
            content=[embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
        ),
    ),
    "test_multiple_content_types": (
        "Answers with text, an image and a resource",
        types.CallToolResult(
            content=[
                types.TextContent(text="Multiple content types test:"),
                types.ImageContent(data=PNG, mime_type="image/png"),
                embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
            ]
        ),
    ),
}


async def _log(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", words, related_request_id=ctx.request_id)
        await anyio.sleep(0.05)
    return text("Three messages were logged")


async def _progress(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"{done} of 100")
        await anyio.sleep(0.05)
    return text("Progress was told")


async def _sampling(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    prompt = types.TextContent(text=(params.arguments or {}).get("prompt", ""))
    said = await ctx.session.create_message(
        [types.SamplingMessage(role="user", content=prompt)], max_tokens=100, related_request_id=ctx.request_id
    )
    return text(f"LLM response: {getattr(said.content, 'text', '')}")


async def _elicit(ctx: Context, message: str, properties: dict[str, Any], told: str, required: list[str]) -> Answer:
    schema = {"type": "object", "properties": properties, "required": required}
    answer = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return text(f"{told}: action={answer.action}, content={answer.content}")


async def _elicitation(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    return await _elicit(ctx, (params.arguments or {}).get("message", ""), fields, "User response", list(fields))


async def _elicit_defaults(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await _elicit(ctx, "Check these values", fields, "Elicitation completed", [])


def _titled(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"const": value, "title": title} for value, title in pairs]


async def _elicit_enums(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    plain = ["option1", "option2", "option3"]
    fields: dict[str, Any] = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {
            "type": "string",
            "oneOf": _titled(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")),
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {
            "type": "array",
            "items": {"anyOf": _titled(("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice"))},
        },
    }
    return await _elicit(ctx, "Choose", fields, "Elicitation completed", [])


async def _tools_change(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    await BUS.publish(ToolsListChanged())
    return text("The list of tools was said to have changed")


async def _prompts_change(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    await BUS.publish(PromptsListChanged())
    return text("The list of prompts was said to have changed")


async def _reconnect(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    """Hang up in the middle of the call: the answer waits for whoever comes back with the last event's id (SEP-1699)."""
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await anyio.sleep(0.1)
    return text("You came back")


async def _echo(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return text(f"The arguments were {params.arguments}")


def _one_string(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


_MIRRORED = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "priority": {"type": "integer", "x-mcp-header": "Priority"},
        "verbose": {"type": "boolean", "x-mcp-header": "Verbose"},
        "note": {"type": "string"},
    },
}

_WIDE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""Every keyword that a gateway could lose on the way (SEP-1613, SEP-2106)."""

_ACTIVE: dict[str, tuple[str, dict[str, Any], Handler]] = {
    "test_tool_with_logging": ("Logs three messages", _NOTHING, _log),
    "test_logging_tool": ("Logs, if this request asked for it", _NOTHING, _log),
    "test_tool_with_progress": ("Tells how far it is", _NOTHING, _progress),
    "test_sampling": ("Asks the client's model", _one_string("prompt"), _sampling),
    "test_elicitation": ("Asks the user", _one_string("message"), _elicitation),
    "test_elicitation_sep1034_defaults": ("Asks with default values", _NOTHING, _elicit_defaults),
    "test_elicitation_sep1330_enums": ("Asks with every kind of choice", _NOTHING, _elicit_enums),
    "test_trigger_tool_change": ("Says that the tools have changed", _NOTHING, _tools_change),
    "test_trigger_prompt_change": ("Says that the prompts have changed", _NOTHING, _prompts_change),
    "test_reconnection": ("Hangs up and answers on the next connection", _NOTHING, _reconnect),
    "json_schema_2020_12_tool": ("Takes a wide schema", _WIDE, _echo),
    "test_headers": ("Mirrors arguments in headers", _MIRRORED, _echo),
}


def listed() -> list[types.Tool]:
    """Every tool, in an order that stays the same."""
    plain = [types.Tool(name=name, description=words, input_schema=_NOTHING) for name, (words, _) in _FIXED.items()]
    active = [types.Tool(name=name, description=words, input_schema=schema) for name, (words, schema, _) in _ACTIVE.items()]
    asking = [types.Tool(name=name, description=words, input_schema=_NOTHING) for name, (words, _) in ROUNDS.items()]
    return [*plain, *active, *asking]


async def called(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    if params.name in _FIXED:
        return _FIXED[params.name][1]
    if params.name in ROUNDS:
        return ROUNDS[params.name][1](ctx, params)
    if params.name in _ACTIVE:
        return await _ACTIVE[params.name][2](ctx, params)
    return text(f"there is no tool {params.name}", is_error=True)
