"""Reading what an HTTP server answers to one message of ours."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.errors import UNREADABLE, OutcomeLost, UpstreamUntouched
from broker.upstream.flights import Message, Sink
from broker.upstream.incoming import HttpAnswer


async def read_answer(answer: HttpAnswer, server: str, number: Any, sink: Sink) -> Message | None:
    """Return the JSON-RPC answer to the request `number`; None where the server refused the message without one.

    Raises `UpstreamUntouched` for refusals that are no word about the protocol, `OutcomeLost` when the answer never came.
    """
    try:
        _check(answer.status, server)
        if answer.media == "text/event-stream" and answer.status == 200:
            return await _streamed(answer, server, number, sink)
        message = decoded(await answer.read()) if answer.media == "application/json" else {}
        if "result" in message or "error" in message:
            return {**message, "id": number}
        if answer.status < 400:
            raise OutcomeLost(f"{server} answered with something that is not MCP (HTTP {answer.status})")
        return None
    finally:
        answer.close()


def decoded(data: bytes) -> Message:
    """Return a message, an empty one for what is none."""
    try:
        message = msgspec.json.decode(data) if data else {}
    except UNREADABLE:
        return {}
    return message if isinstance(message, dict) else {}


def _check(status: int, server: str) -> None:
    if status in (401, 403, 407) or 300 <= status < 400:
        raise UpstreamUntouched(f"{server} can't be used: it answered with HTTP {status}")
    if status >= 500:
        raise OutcomeLost(f"{server} failed (HTTP {status})")


async def _streamed(answer: HttpAnswer, server: str, number: Any, sink: Sink) -> Message:
    async for event in answer.events():
        message = decoded(event.data)
        if "method" in message:
            sink(message)
        elif message.get("id") == number:
            return message
    raise OutcomeLost(f"{server} ended its answer before it was whole")
