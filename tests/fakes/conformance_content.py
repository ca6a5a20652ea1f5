"""Prompts, resources and completions of the conformance fixture."""

from __future__ import annotations

import re
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from tests.fakes.conformance_rounds import prompt_round
from tests.fakes.conformance_tools import PNG, embedded

Context = ServerRequestContext[Any, Any]

_TEMPLATE = re.compile(r"test://template/([^/]+)/data")

_RESOURCES: dict[str, tuple[str, types.TextResourceContents | types.BlobResourceContents]] = {
    "test://static-text": (
        "A text",
        types.TextResourceContents(
            uri="test://static-text", mime_type="text/plain", text="This is the content of the static text resource."
        ),
    ),
    "test://static-binary": (
        "An image",
        types.BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=PNG),
    ),
    "test://watched-resource": (
        "A text that can be watched",
        types.TextResourceContents(uri="test://watched-resource", mime_type="text/plain", text="Watch me."),
    ),
}


def _argument(name: str, words: str) -> types.PromptArgument:
    return types.PromptArgument(name=name, description=words, required=True)


_PROMPTS = [
    types.Prompt(name="test_simple_prompt", description="One message"),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="One message with two words in it",
        arguments=[_argument("arg1", "the first word"), _argument("arg2", "the second word")],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A resource and what to do with it",
        arguments=[_argument("resourceUri", "the resource to embed")],
    ),
    types.Prompt(name="test_prompt_with_image", description="An image and what to do with it"),
    types.Prompt(name="test_input_required_result_prompt", description="Asks back before it answers"),
]


async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    listed = [
        types.Resource(uri=uri, name=uri.removeprefix("test://"), description=words, mime_type=contents.mime_type)
        for uri, (words, contents) in _RESOURCES.items()
    ]
    return types.ListResourcesResult(resources=listed)


async def list_templates(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data", name="template", description="Data by id", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    if params.uri in _RESOURCES:
        return types.ReadResourceResult(contents=[_RESOURCES[params.uri][1]])
    if found := _TEMPLATE.fullmatch(params.uri):
        data = f'{{"id":"{found[1]}","templateTest":true,"data":"Data for ID: {found[1]}"}}'
        contents = types.TextResourceContents(uri=params.uri, mime_type="application/json", text=data)
        return types.ReadResourceResult(contents=[contents])
    raise MCPError(types.INVALID_PARAMS, "there is no such resource", {"uri": params.uri})


async def subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


async def unsubscribe(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=_PROMPTS)


async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    words = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return _says("This is a simple prompt for testing.")
        case "test_prompt_with_arguments":
            return _says(f"Prompt with arguments: arg1='{words.get('arg1')}', arg2='{words.get('arg2')}'")
        case "test_prompt_with_embedded_resource":
            resource = embedded(words.get("resourceUri", ""), "text/plain", "Embedded resource content for testing.")
            return _says(resource, "Please process the embedded resource above.")
        case "test_prompt_with_image":
            return _says(types.ImageContent(data=PNG, mime_type="image/png"), "Please analyze the image above.")
        case "test_input_required_result_prompt":
            return prompt_round(params)
        case unknown:
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {unknown}")


def _says(*contents: str | types.ContentBlock) -> types.GetPromptResult:
    blocks = [types.TextContent(text=content) if isinstance(content, str) else content for content in contents]
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=block) for block in blocks])


async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    known = [word for word in ("paris", "park", "party", "hello") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=known, total=len(known), has_more=False))
