"""One request under way: out under a number of ours, and back under its caller's own id and progress token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from broker.errors import OutcomeLost, UpstreamError
from broker.upstream.words import LOG_LEVEL_META_KEY, SUBSCRIPTION_ID_META_KEY

Message = dict[str, Any]
"""A JSON-RPC message. Members that nobody knows here survive."""

Sink = Callable[[Message], None]
"""Takes a message that the server sent before its answer, with the caller's own token in it. Must not block or raise."""

encode = msgspec.json.Encoder().encode


class GivenUp(OutcomeLost):
    """Its caller cancelled the request: nobody waits for an answer, but it may have taken effect."""


class Flight:
    """One request under way: `number` on the pipe, `request` as the caller sent it, `owner` whoever may cancel it."""

    def __init__(self, number: int, request: Message, sink: Sink, owner: Hashable) -> None:
        self.number = number
        self.request = request
        self.sink = sink
        self.owner = owner
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    @property
    def token(self) -> Any:
        return meta_of(self.request).get("progressToken")

    @property
    def log_level(self) -> str:
        """The log level that this request asks for (2026-07-28), empty where it asks for none."""
        return str(meta_of(self.request).get(LOG_LEVEL_META_KEY, ""))

    def outgoing(self) -> Message:
        """The request as the server gets it: under our number."""
        if self.token is None:
            return {**self.request, "id": self.number}
        params = self.request["params"]
        return {
            **self.request,
            "id": self.number,
            "params": {**params, "_meta": {**params["_meta"], "progressToken": self.number}},
        }

    def heard(self, message: Message) -> None:
        """Hand on what the server sent for this request: progress, or an event that it listens for."""
        params = message.get("params") or {}
        if message["method"] == "notifications/progress":
            params = {**params, "progressToken": self.token}
        elif SUBSCRIPTION_ID_META_KEY in meta_of(message):
            params = {**params, "_meta": {**params["_meta"], SUBSCRIPTION_ID_META_KEY: self.request["id"]}}
        self.sink({**message, "params": params} if params else message)

    def settle(self, answer: Message | UpstreamError) -> None:
        """End the waiting for the answer: the server's, with its number in it, or a mistake. Only the first counts."""
        if self.answer.done():
            return
        if isinstance(answer, UpstreamError):
            self.answer.set_exception(answer)
            self.answer.exception()  # nobody may be waiting any more
        else:
            self.answer.set_result(self._restored(answer))

    def _restored(self, answer: Message) -> Message:
        answer = {**answer, "id": self.request["id"]}
        result = answer.get("result")
        if isinstance(result, dict) and SUBSCRIPTION_ID_META_KEY in meta_of({"params": result}):
            answer["result"] = {**result, "_meta": {**result["_meta"], SUBSCRIPTION_ID_META_KEY: answer["id"]}}
        return answer


def meta_of(message: Message) -> Message:
    """Return `params._meta`, empty where there is none."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}
