"""Older-era sessions in front of a server that only speaks 2026-07-28.

A session is nothing but what the client said of itself, so its id carries that, and any broker can go on with it. What the server
asks back (`input_required`) becomes a request to the client, and its answers become the next round.
"""

from __future__ import annotations

import asyncio
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from typing import Any

import anyio
import msgspec

from broker.errors import UpstreamError, UpstreamUntouched
from broker.upstream import eras
from broker.upstream.flights import Message, Sink, encode
from broker.upstream.listeners import CHANGES, Peers
from broker.upstream.words import SUBSCRIPTION_ID_META_KEY

_PREFIX = "newer."
# Characters of a session id beyond which the client's capabilities are cut down to what the protocol knows.
LONGEST = 1_024
# Rounds of questions within one call, and seconds before a round without any question is answered.
ROUNDS = 10
PAUSE = 0.25
# Seconds before listening is tried again.
AGAIN = 1.0
# Sessions whose log level and subscriptions are remembered; the one that was not used for longest goes first.
MOST = 10_000


class _Client(msgspec.Struct, frozen=True, array_like=True):
    capabilities: Message
    info: Message
    nonce: str


class _State:
    """What a session has beyond its id; a broker that was started anew begins with none."""

    def __init__(self) -> None:
        self.log_level = ""
        self.uris: set[str] = set()
        self.changed = asyncio.Event()


class TranslatedSessions:
    """Sessions over a newer server."""

    def __init__(self, server: str, peers: Peers) -> None:
        self._server = server
        self._peers = peers
        self._states: OrderedDict[str, _State] = OrderedDict()
        self._questions: dict[tuple[str, str], asyncio.Future[Message]] = {}

    @staticmethod
    def made(session: str) -> bool:
        """Is it the id of a session of this kind?"""
        return session.startswith(_PREFIX) and _client(session) is not None

    def knows(self, session: str) -> bool:
        return self.made(session)

    async def begin(self, request: Message) -> tuple[Message, str]:
        peer = await self._peers()
        params = request.get("params") or {}
        hello = eras.initialized(peer.hello, params.get("protocolVersion"), self._server)
        hello["capabilities"] = {name: told for name, told in hello["capabilities"].items() if name != "extensions"}
        return eras.result(request, hello), _named(params.get("capabilities"), params.get("clientInfo"))

    async def ask(self, session: str, request: Message, sink: Sink) -> Message:
        """Return the server's answer. Raises `UpstreamUntouched`, `OutcomeLost`."""
        state = self._state(session)
        params = request.get("params") or {}
        match request["method"]:
            case "ping":
                return eras.result(request, {})
            case "logging/setLevel":
                state.log_level = str(params.get("level", ""))
                return eras.result(request, {})
            case "resources/subscribe" | "resources/unsubscribe":
                return _subscribed(state, request)
            case _:
                return await self._rounds(session, state, request, sink)

    async def tell(self, session: str, message: Message) -> None:
        """Take a cancellation, or the client's answer to what the server asked. The rest means nothing to a newer server."""
        if message.get("method") == "notifications/cancelled":
            params = message.get("params") or {}
            await (await self._peers()).cancel(session, params.get("requestId"), params)
        elif "method" not in message:
            question = self._questions.get((session, str(message.get("id"))))
            if question is not None and not question.done():
                question.set_result(message)

    async def listen(self, session: str, sink: Sink) -> None:
        """Hear about changes: one `subscriptions/listen` upstream, opened anew when the client subscribes to more."""
        state = self._state(session)
        while True:
            state.changed = asyncio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, state, sink)
                await state.changed.wait()
                tasks.cancel_scope.cancel()

    async def end(self, session: str) -> None:
        self._states.pop(session, None)

    def _state(self, session: str) -> _State:
        state = self._states.setdefault(session, _State())
        self._states.move_to_end(session)
        if len(self._states) > MOST:
            self._states.popitem(last=False)
        return state

    async def _listen(self, state: _State, sink: Sink) -> None:
        asked: Message = dict.fromkeys(CHANGES.values(), True)
        if state.uris:
            asked["resourceSubscriptions"] = sorted(state.uris)
        listen = {"jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen", "params": {"notifications": asked}}

        def unstamped(message: Message) -> None:
            if message["method"] != "notifications/subscriptions/acknowledged":
                params = message.get("params") or {}
                meta = {name: told for name, told in (params.get("_meta") or {}).items() if name != SUBSCRIPTION_ID_META_KEY}
                kept = {name: told for name, told in params.items() if name != "_meta"} | ({"_meta": meta} if meta else {})
                sink({"jsonrpc": "2.0", "method": message["method"]} | ({"params": kept} if kept else {}))

        while True:
            try:
                answer = await (await self._peers()).ask(eras.enveloped(listen, {}, eras.US), unstamped)
                if "error" in answer:
                    return  # it tells nobody about changes
            except UpstreamError:
                pass
            await anyio.sleep(AGAIN)

    async def _rounds(self, session: str, state: _State, request: Message, sink: Sink) -> Message:
        client = _client(session)
        if client is None:
            raise UpstreamUntouched("the session is not known here")
        asking = eras.enveloped(request, client.capabilities, client.info, state.log_level)
        for _ in range(ROUNDS):
            answer = await (await self._peers()).ask(asking, sink, session)
            result = answer.get("result")
            if not isinstance(result, dict) or result.get("resultType") != "input_required":
                return eras.older_answer(answer)
            answers = await self._asked(session, result.get("inputRequests") or {}, sink)
            if answers is None:
                return eras.error(request, -32603, "the client did not answer what the server asked it")
            more: Message = {"inputResponses": answers} if answers else {}
            if "requestState" in result:
                more["requestState"] = result["requestState"]
            asking = {**asking, "params": {**asking["params"], **more}}
        return eras.error(request, -32603, f"the server asked more than {ROUNDS} times")

    async def _asked(self, session: str, questions: Message, sink: Sink) -> Message | None:
        """Put the server's questions to the client and return its answers, None if it refused one."""
        if not questions:
            await anyio.sleep(PAUSE)
        waiting: dict[str, asyncio.Future[Message]] = {}
        try:
            for name, question in questions.items():
                number = f"broker-{secrets.token_hex(8)}"
                waiting[name] = self._questions[session, number] = asyncio.get_running_loop().create_future()
                sink({"jsonrpc": "2.0", "id": number, **question})
            answers = {name: await answer for name, answer in waiting.items()}
        finally:
            self._questions = {key: asked for key, asked in self._questions.items() if asked not in waiting.values()}
        results = {name: answer["result"] for name, answer in answers.items() if "result" in answer}
        return results if len(results) == len(questions) else None


def _subscribed(state: _State, request: Message) -> Message:
    uri = (request.get("params") or {}).get("uri")
    if not isinstance(uri, str):
        return eras.error(request, eras.INVALID_PARAMS, "`uri` has to be a string")
    (state.uris.add if request["method"] == "resources/subscribe" else state.uris.discard)(uri)
    state.changed.set()
    return eras.result(request, {})


def _named(capabilities: Any, info: Any) -> str:
    """Return a session id that carries what the client said of itself."""
    capabilities = capabilities if isinstance(capabilities, dict) else {}
    info = info if isinstance(info, dict) else {}
    for client in (
        _Client(capabilities, info, secrets.token_urlsafe(8)),
        _Client(
            {name: {} for name in capabilities if name in ("sampling", "elicitation", "roots")}, {}, secrets.token_urlsafe(8)
        ),
    ):
        text = _PREFIX + urlsafe_b64encode(encode(client)).rstrip(b"=").decode()
        if len(text) <= LONGEST:
            break
    return text


def _client(session: str) -> _Client | None:
    """Return what a session id carries; None for one that carries nothing."""
    text = session.removeprefix(_PREFIX)
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Client)
    except (ValueError, msgspec.MsgspecError):
        return None
