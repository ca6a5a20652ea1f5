"""A server that asks its caller twice in the middle of a call, by hand: `on["tools/call"]` of the scripted one."""

from __future__ import annotations

from typing import Any

from tests.fakes.scripted import Reply, Seen, answer

FORM: dict[str, Any] = {"elicitation": {"form": {}}}
QUESTION = {"method": "elicitation/create", "params": {"message": "Which?", "requestedSchema": {"type": "object"}}}
ANSWERS = {"which": {"action": "accept", "content": {"name": "ada"}}}
CALL = {"name": "park_me", "arguments": {"amount": 40}}


async def asks_twice(seen: Seen, reply: Reply) -> None:
    """A server that asks until its own state says that it asked twice."""
    assert seen.message is not None
    params = seen.message["params"]
    state = params.get("requestState", "none")
    if state == "second":
        await reply.json(answer(seen, {"resultType": "complete", "content": [{"type": "text", "text": str(params)}]}))
        return
    after = {"none": "first", "first": "second"}[state]
    await reply.json(answer(seen, {"resultType": "input_required", "inputRequests": {"which": QUESTION}, "requestState": after}))
