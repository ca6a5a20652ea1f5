"""For servers written with the mcp SDK: what decorators of tools share. They get the request as it came, beside the arguments."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
from mcp.server.mcpserver import Context

from broker.audit.keys import PublicKeys
from broker.errors import ConfigInvalid

_CONTEXT = "approval_context"

Check = Callable[[Context[Any], str], Awaitable[None]]
"""Raises `ToolError` where the tool of that name must not run for this request."""


class KeysAway(Exception):
    """The broker's public keys can't be had now."""


def checked_first(check: Check) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator for a tool that runs only once `check` passed. Several may stand above each other."""

    def decorate(tool: Callable[..., Any]) -> Callable[..., Any]:
        takes = _CONTEXT in inspect.signature(tool).parameters

        @functools.wraps(tool)
        async def after_check(*args: Any, **kwargs: Any) -> Any:
            await check(kwargs[_CONTEXT] if takes else kwargs.pop(_CONTEXT), tool.__name__)
            result = tool(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return after_check if takes else _taking_context(after_check, tool)

    return decorate


def raw_params(context: Context[Any]) -> Mapping[str, Any]:
    """Return the request's `params` as they came, before any coercion."""
    return context.request_context.params or {}


async def public_keys(source: str | Mapping[str, Any]) -> PublicKeys:
    """Return the keys of a JWKS, or of its address, which is asked each time: rotation just works. Raises `KeysAway`."""
    try:
        if not isinstance(source, str):
            return PublicKeys(source)
        async with httpx2.AsyncClient(timeout=5) as client:
            return PublicKeys((await client.get(source)).raise_for_status().json())
    except ConfigInvalid as error:
        raise KeysAway(error.message) from None
    except (httpx2.HTTPError, ValueError) as error:
        raise KeysAway(f"the broker's keys can't be fetched: {type(error).__name__}") from None


def _taking_context(wrapper: Callable[..., Any], tool: Callable[..., Any]) -> Callable[..., Any]:
    """Let the SDK hand in the request's context, beside whatever the tool takes itself."""
    plain = inspect.signature(tool, eval_str=True)
    extra = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=Context)
    wrapper.__signature__ = plain.replace(parameters=[*plain.parameters.values(), extra])  # type: ignore[attr-defined]  # PEP 362
    wrapper.__annotations__ = {**typing.get_type_hints(tool), _CONTEXT: Context}
    return wrapper
