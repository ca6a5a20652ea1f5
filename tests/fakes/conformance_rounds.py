"""Tools and a prompt of the conformance fixture that ask back before they answer (2026-07-28, SEP-2322).

Each asks for input by name and answers once the input is there. `requestState` is sealed by the SDK's own middleware,
so what arrives here is what was handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

Context = ServerRequestContext[Any, Any]
Answer = types.CallToolResult | types.InputRequiredResult
Round = Callable[[Context, types.CallToolRequestParams], Answer]


def text(words: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=words)], is_error=is_error)


def form(message: str, **properties: str) -> types.ElicitRequest:
    """A question with one required field for each property, `name="string"`."""
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    said = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[said], max_tokens=max_tokens))


def ask(state: str | None = None, **requests: types.InputRequest) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def given(params: types.InputResponseRequestParams, name: str) -> Any | None:
    """The answer to one question: a form's fields, else the whole response; None when it is not there."""
    response = (params.input_responses or {}).get(name)
    if isinstance(response, types.ElicitResult):
        return response.content if response.action == "accept" else None
    return response


def _name(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    form_given = given(params, "user_name")
    if not form_given:
        return ask(user_name=form("What is your name?", name="string"))
    return text(f"Hello, {form_given.get('name')}!")


def _capital(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    said = given(params, "capital_question")
    if said is None:
        return ask(capital_question=sample("What is the capital of France?"))
    return text(f"The model said: {said.content.text}")


def _roots(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    listed = given(params, "client_roots")
    if listed is None:
        return ask(client_roots=types.ListRootsRequest(params=types.RequestParams()))
    return text("Roots: " + ", ".join(str(root.uri) for root in listed.roots))


def _state(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    if given(params, "confirm") is None:
        return ask("waiting-for-confirm", confirm=form("Please confirm", ok="boolean"))
    if params.request_state != "waiting-for-confirm":
        raise MCPError(types.INVALID_PARAMS, "the confirmation comes without its state")
    return text("Confirmed: state-ok")


def _several(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    wanted: dict[str, types.InputRequest] = {
        "user_name": form("What is your name?", name="string"),
        "greeting": sample("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(params=types.RequestParams()),
    }
    missing = {name: request for name, request in wanted.items() if given(params, name) is None}
    if missing:
        return ask("several", **missing)
    return text(f"All {len(wanted)} answers are here")


def _steps(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    match params.request_state:
        case "asked-name" if given(params, "step1"):
            return ask("asked-color", step2=form("Step 2: What is your favorite color?", color="string"))
        case "asked-color" if given(params, "step2"):
            return text("Both steps are done")
        case _:
            return ask("asked-name", step1=form("Step 1: What is your name?", name="string"))


def _tampered(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    if params.request_state is None:
        return ask("sealed", confirm=form("Please confirm", ok="boolean"))
    return text("The state is unharmed")


def _capable(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    can = ctx.session.client_capabilities or types.ClientCapabilities()
    possible: dict[str, types.InputRequest] = {}
    if can.sampling is not None:
        possible["greeting"] = sample("Generate a greeting", 50)
    if can.elicitation is not None:
        possible["user_name"] = form("What is your name?", name="string")
    if not possible or any(given(params, name) for name in possible):
        return text("Nothing is left to ask")
    return ask(**possible)


def _missing(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    can = ctx.session.client_capabilities
    if can is None or can.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs sampling", needed)
    return text("Sampling is there")


def _stream(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    if given(params, "user_name") is None:
        return ask(user_name=form("What is your name?", name="string"))
    return text("Thank you")


ROUNDS: dict[str, tuple[str, Round]] = {
    "test_input_required_result_elicitation": ("Asks for a name", _name),
    "test_input_required_result_sampling": ("Asks a model for a capital", _capital),
    "test_input_required_result_list_roots": ("Asks for the client's roots", _roots),
    "test_input_required_result_request_state": ("Asks for a confirmation and hands out state", _state),
    "test_input_required_result_multiple_inputs": ("Asks for three things at once", _several),
    "test_input_required_result_multi_round": ("Asks twice, one after the other", _steps),
    "test_input_required_result_tampered_state": ("Refuses state that it did not hand out", _tampered),
    "test_input_required_result_capabilities": ("Asks only for what the client can do", _capable),
    "test_missing_capability": ("Needs sampling, and says so", _missing),
    "test_streaming_elicitation": ("Asks in its result, never on the stream", _stream),
}


def prompt_round(params: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    """`test_input_required_result_prompt`: a prompt that asks back, as tools do."""
    context = given(params, "user_context")
    if not context:
        return ask(user_context=form("What context should the prompt use?", context="string"))
    said = types.TextContent(text=f"Use this context: {context.get('context')}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=said)])
