"""The frames between a stdio client and the broker: each line out as one POST, each answer back as lines, in both eras.

Lines go out as they came in. What the pump adds is HTTP: headers, the session of the older era, its streams and their
resumption, and an answer where the broker could not give one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import anyio
import anyio.abc
import msgspec
from mcp.shared.inbound import NAME_BEARING_METHODS, encode_header_value, mcp_param_headers, x_mcp_header_map
from mcp_types import PROTOCOL_VERSION_META_KEY

from broker.errors import UNREADABLE
from broker.upstream.sse import Cutter

Message = dict[str, Any]
Write = Callable[[bytes], Awaitable[None]]

_BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
# Times that a broken stream of the older era is taken up again, and the seconds before each.
RESUMES = 30
PAUSE = 1.0
# What is said to the client when the broker gave no answer (JSON-RPC: implementation-defined).
BROKEN = -32000

_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """The broker answered with something that is no JSON-RPC. `status` is HTTP's; 0: it was not reached."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Pump:
    """One client's traffic. `url` is the endpoint of one server at the broker; `write` takes lines for the client."""

    def __init__(self, http: aiohttp.ClientSession, url: str, write: Write) -> None:
        self._http = http
        self._url = url
        self._write_line = write
        self._session = ""
        self._version = ""
        self._hello: bytes = b""
        self._beginning = anyio.Lock()
        self._asking: dict[int | str, tuple[bool, anyio.CancelScope]] = {}
        self._mirrored: dict[str, Mapping[tuple[str, ...], str]] = {}

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Pump until the client closes its side; then its session is ended, and what is under way given up."""
        async with anyio.create_task_group() as tasks:
            async for line in lines:
                message = _decoded(line)
                if "method" in message and "id" in message:
                    tasks.start_soon(self._ask, line, message)
                elif message:
                    await self._tell(line, message, tasks)
                elif line.strip():
                    await self._write({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}})
            tasks.cancel_scope.cancel()
        if self._session:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.delete(self._url, headers=self._headers({})):
                    pass

    # -- out ----------------------------------------------------------------------------------------------

    async def _ask(self, line: bytes, message: Message) -> None:
        number, scope = message["id"], anyio.CancelScope()
        self._asking[number] = (_version(message) != "", scope)
        try:
            with scope:
                await self._answered(line, message)
        except Refused as error:
            await self._write({"jsonrpc": "2.0", "id": number, "error": {"code": BROKEN, "message": str(error)}})
        finally:
            self._asking.pop(number, None)

    async def _answered(self, line: bytes, message: Message) -> None:
        """Send a request and hand on everything up to its answer. A session that the broker forgot is begun again."""
        for again in (False, True):
            session = self._session
            try:
                return await self._posted(line, message)
            except Refused as error:
                if error.status != 404 or not session or again or message["method"] == "initialize":
                    raise
            await self._begun_again(session)
        return None

    async def _posted(self, line: bytes, message: Message) -> None:
        last = ""
        async with self._request("POST", line, self._headers(message)) as response:
            if response.status == 404 and self._session and not _version(message):
                raise _refusal(404, await _body(response))
            if message["method"] == "initialize":
                self._session, self._hello = response.headers.get("mcp-session-id", ""), line
            if response.content_type != "text/event-stream":
                await self._heard(await _body(response), message)
                return
            last, done = await self._streamed(response, message)
        if not done:
            await self._resumed(message, last)

    async def _tell(self, line: bytes, message: Message, tasks: anyio.abc.TaskGroup) -> None:
        """Send a notification, or the client's answer to a question, before anything that comes after it."""
        if message.get("method") == "notifications/cancelled":
            newer, scope = self._asking.get((message.get("params") or {}).get("requestId", ""), (False, anyio.CancelScope()))
            if newer:
                scope.cancel()  # this era cancels by closing the connection
                return
        with suppress(Refused):
            async with self._request("POST", line, self._headers(message)):
                pass
        if message.get("method") == "notifications/initialized" and self._session:
            tasks.start_soon(self._listen)

    async def _listen(self) -> None:
        """The server's own stream, opened again when it ends; a server that has none is not asked twice."""
        last = ""
        while self._session:
            with suppress(Refused):
                async with self._request("GET", b"", self._headers({}, last)) as response:
                    if response.status == 405:
                        return
                    last, _ = await self._streamed(response, {})
            await anyio.sleep(PAUSE)

    async def _begun_again(self, session: str) -> None:
        """Say the client's own `initialize` again: the broker, or the server behind it, was started anew."""
        async with self._beginning:
            if self._session != session:
                return
            self._session = ""
            async with self._request("POST", self._hello, self._headers({})) as response:
                self._session = response.headers.get("mcp-session-id", "")
                await _body(response)
            told = _encode({"jsonrpc": "2.0", "method": "notifications/initialized"})
            async with self._request("POST", told, self._headers({})):
                pass

    async def _resumed(self, message: Message, last: str) -> None:
        """Take a broken stream up again where it broke: the broker keeps what a parked call becomes."""
        for _ in range(RESUMES if last and self._session else 0):
            await anyio.sleep(PAUSE)
            with suppress(Refused):
                async with self._request("GET", b"", self._headers({}, last)) as response:
                    heard, done = await self._streamed(response, message)
                    last = heard or last
                    if done:
                        return
        raise Refused(0, "the connection to the broker broke before the answer came: the same call again gets it, if it ran")

    def _request(self, verb: str, body: bytes, headers: dict[str, str]) -> _Exchange:
        return _Exchange(self._http.request(verb, self._url, data=body or None, headers=headers))

    def _headers(self, message: Message, last: str = "") -> dict[str, str]:
        headers = dict(_BOTH)
        if version := _version(message):
            return headers | self._newer_headers(message, version)
        if self._session:
            headers |= {"mcp-session-id": self._session}
        if self._version:
            headers |= {"mcp-protocol-version": self._version}
        return headers | ({"last-event-id": last} if last else {})

    def _newer_headers(self, message: Message, version: str) -> dict[str, str]:
        method, params = message["method"], message["params"]
        headers = {"mcp-protocol-version": version, "mcp-method": method}
        name = params.get("taskId") if method.startswith("tasks/") else params.get(NAME_BEARING_METHODS.get(method, ""))
        if isinstance(name, str):
            headers["mcp-name"] = encode_header_value(name)
        if method == "tools/call" and (mirrored := self._mirrored.get(str(params.get("name")))):
            headers |= mcp_param_headers(mirrored, params.get("arguments") or {})
        return headers

    # -- back ---------------------------------------------------------------------------------------------

    async def _streamed(self, response: aiohttp.ClientResponse, message: Message) -> tuple[str, bool]:
        """Hand on a stream. Returns the id of its last event, and whether the answer to `message` was among it."""
        if response.content_type != "text/event-stream":
            raise _refusal(response.status, b"")
        last, cutter = "", Cutter()
        try:
            async for chunk in response.content.iter_any():
                for event in cutter.feed(chunk):
                    last = event.id or last
                    if event.data and await self._heard(event.data, message):
                        return last, True
        except (aiohttp.ClientError, TimeoutError):
            pass  # told by False: it may be taken up again
        return last, False

    async def _heard(self, data: bytes, message: Message) -> bool:
        """Hand one message on to the client. Returns whether it answers `message`."""
        told = _decoded(data)
        if "method" not in told and "result" not in told and "error" not in told:
            return False
        answers = "method" not in told and told.get("id") == message.get("id")
        if answers:
            self._learned(message, told.get("result"))
        await self._write(told)
        return answers

    def _learned(self, message: Message, result: Any) -> None:
        if not isinstance(result, dict):
            return
        if message["method"] == "initialize":
            self._version = str(result.get("protocolVersion", ""))
        elif message["method"] == "tools/list" and isinstance(result.get("tools"), list):
            for tool in result["tools"]:
                self._mirrored[str(tool.get("name"))] = x_mcp_header_map(tool.get("inputSchema") or {})

    async def _write(self, message: Message) -> None:
        await self._write_line(_encode(message) + b"\n")


class _Exchange:
    """One HTTP exchange whose refusals are `Refused`: nothing that is not JSON-RPC gets past it."""

    def __init__(self, request: Any) -> None:
        self._request = request

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            response: aiohttp.ClientResponse = await self._request.__aenter__()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Refused(0, f"the broker can't be reached ({type(error).__name__})") from None
        if response.status >= 400 and response.status != 405:
            body = await _body(response) if response.content_type == "application/json" else b""
            if response.status in (401, 403) or "error" not in _decoded(body):
                await self._request.__aexit__(None, None, None)
                raise _refusal(response.status, body)
        return response

    async def __aexit__(self, *about: Any) -> None:
        await self._request.__aexit__(*about)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Refused(0, f"the connection to the broker broke ({type(error).__name__})") from None


def _version(message: Message) -> str:
    """The revision that a request of the newer era says it is in; empty for the older one."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return str(meta.get(PROTOCOL_VERSION_META_KEY) or "") if isinstance(meta, dict) else ""


def _refusal(status: int, body: bytes) -> Refused:
    told = _decoded(body).get("error")
    why = told.get("message") if isinstance(told, dict) else ""
    if status == 401:
        why = "the broker does not accept the token: BROKER_TOKEN has to hold one of `broker agents add`"
    return Refused(status, str(why or f"the broker refused the message (HTTP {status})"))


def _decoded(line: bytes) -> Message:
    try:
        message = msgspec.json.decode(line) if line.strip() else {}
    except UNREADABLE:
        return {}
    return message if isinstance(message, dict) else {}
