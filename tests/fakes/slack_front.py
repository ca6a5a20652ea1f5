"""What stands before the emulator of Slack's Web API and adds what it lacks: GET, user groups, Socket Mode, clicks, modals,
events, rate limits and faults. A click is made from the message that the emulator holds: what is not on it can't be pressed."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from tests.fakes.slack_faults import Fault, Limits

TEAM, APP, BOT_USER = "T000000001", "A0APPROVALS", "U0APPROVALS"


class Reply(NamedTuple):
    status: int
    text: str
    seconds: float


class SlackFront:
    """`url` is the Web API, `answers` the host of answer addresses. `deliver` is where HTTP interactions go."""

    def __init__(self, emulator: str, secret: str) -> None:
        self.emulator = emulator
        self.secret = secret
        self.deliver = ""
        self.events = ""  # "http" or "socket": where `message_metadata_posted` is told
        self.calls: list[tuple[str, dict[str, Any], float]] = []
        self.faults: list[Fault] = []
        self.limits = Limits()
        self.sent: list[tuple[dict[str, str], bytes]] = []  # heads and bytes of everything that was sent over HTTP
        self.answers_said: list[dict[str, Any]] = []
        self.heads: dict[str, str] = {}  # heads of the Web API's answers, instead of the emulator's own
        self.accounts: dict[str, dict[str, Any]] = {}
        self.usergroups: dict[str, list[str]] = {}
        self.homes: dict[str, dict[str, Any]] = {}
        self.modals: deque[tuple[str, dict[str, Any]]] = deque(maxlen=100)
        self.sockets: list[web.WebSocketResponse] = []
        self.acknowledged: dict[str, Any] = {}
        self._triggers: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._told = asyncio.Event()

    async def start(self) -> None:
        self.http = aiohttp.ClientSession()
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_get("/link", self._link)
        app.router.add_post("/actions/{id}", self._answered)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url, self.answers = f"http://127.0.0.1:{self.port}/api/", f"127.0.0.1:{self.port}"

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in list(self.sockets):
            await socket.close()
        await self._runner.cleanup()
        await self.http.close()

    # -- looking ------------------------------------------------------------------------------------------

    async def until(self, true: Callable[[], Any]) -> Any:
        """Wait until something holds; looked at after every call that Slack got."""
        while not (found := true()):
            self._told.clear()
            await self._told.wait()
        return found

    async def next_call(self) -> None:
        """Wait until Slack gets another call, a tenth of a second at most: what is looked for may have come just before."""
        self._told.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await self._told.wait()

    async def call(self, method: str, *, token: str = "test-admin", **fields: Any) -> dict[str, Any]:
        """Ask the emulator itself, by default as a bot that may read all."""
        data = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.post(f"{self.emulator}/api/{method}", data=data, headers=headers) as response:
            told: dict[str, Any] = await response.json()
            return told

    async def channel(self, name: str) -> str:
        """The id of a conversation, or of the direct messages with a user; empty where there are none yet."""
        listed = await self.call("conversations.list", types="public_channel,private_channel,im", limit="500")
        return next((str(one["id"]) for one in listed["channels"] if name == one.get("name")), "")

    async def messages(self, name: str) -> list[dict[str, Any]]:
        """The messages of a conversation, the oldest first; replies are not among them."""
        history = await self.call("conversations.history", channel=await self.channel(name), limit="500")
        found = [one for one in history.get("messages", ()) if one.get("blocks")]
        return sorted((one for one in found if one.get("thread_ts", one["ts"]) == one["ts"]), key=lambda one: float(one["ts"]))

    async def thread(self, name: str, ts: str) -> list[dict[str, Any]]:
        replies = await self.call("conversations.replies", channel=await self.channel(name), ts=ts, limit="500")
        return [one for one in replies["messages"] if one["ts"] != ts]

    async def user(self, name: str) -> str:
        return next(str(one["id"]) for one in (await self.call("users.list"))["members"] if one["name"] == name)

    # -- doing what people do -----------------------------------------------------------------------------

    async def click(self, channel: str, ts: str, action: str, user: str) -> dict[str, Any]:
        """Return the payload of a press on a button of a message. Raises `LookupError` when the message has no such button."""
        place = await self.channel(channel)
        found = next(one for one in await self.messages(channel) if one["ts"] == ts)
        container = {"type": "message", "message_ts": ts, "channel_id": place, "is_ephemeral": False}
        return await self._pressed(found["blocks"], action, user) | {
            "container": container, "channel": {"id": place, "name": channel}, "message": found,
            "response_url": f"http://127.0.0.1:{self.port}/actions/{uuid.uuid4().hex}",
        }  # fmt: skip

    async def click_home(self, action: str, user: str) -> dict[str, Any]:
        """Return the payload of a press in somebody's App Home."""
        view = self.homes[user]
        return await self._pressed(view["blocks"], action, user) | {"container": {"type": "view"}, "view": view}

    async def _pressed(self, blocks: list[dict[str, Any]], action: str, user: str) -> dict[str, Any]:
        buttons = [(block, one) for block in blocks if block["type"] == "actions" for one in block["elements"]]
        for block, one in buttons:
            if one.get("action_id") == action:
                trigger = await self.call("views.generateTriggerId", user_id=user)
                self._triggers[str(trigger["trigger_id"])] = user
                pressed = {"action_id": action, "block_id": block["block_id"], "value": one.get("value"), "type": "button"}
                return {
                    "type": "block_actions", "user": {"id": user, "username": "x", "name": "x", "team_id": TEAM},
                    "api_app_id": APP, "token": "legacy", "trigger_id": trigger["trigger_id"], "enterprise": None,
                    "team": {"id": TEAM, "domain": "acme"}, "is_enterprise_install": False, "state": {"values": {}},
                    "actions": [{**pressed, "text": one["text"], "action_ts": f"{time.time():.6f}"}],
                }  # fmt: skip
        raise LookupError(f"no button {action}: nobody could have pressed it")

    def submission(self, user: str, *, preset: str = "", words: str = "") -> dict[str, Any]:
        """Return the payload of the form that this user has open."""
        view = next(view for opened_by, view in reversed(self.modals) if opened_by == user and view.get("callback_id"))
        values = {
            "preset": {"preset": {"type": "radio_buttons", "selected_option": {"value": preset} if preset else None}},
            "words": {"words": {"type": "plain_text_input", "value": words or None}},
        }
        return {
            "type": "view_submission", "user": {"id": user, "team_id": TEAM}, "team": {"id": TEAM, "domain": "acme"},
            "api_app_id": APP, "view": {**view, "state": {"values": values}},
        }  # fmt: skip

    async def post(
        self, path: str, body: bytes, *, skew: int = 0, tamper: bytes = b"", cut: int = 0, secret: str = ""
    ) -> Reply:  # fmt: skip
        """Send signed bytes to the broker, as Slack does; `cut` takes so many characters from the signature's end."""
        stamp = str(int(time.time()) + skew)
        signature = SignatureVerifier(secret or self.secret).generate_signature(timestamp=stamp, body=body) or ""
        headers = {
            "Content-Type": "application/json" if path == "/slack/events" else "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature[: len(signature) - cut],
        }  # fmt: skip
        self.sent.append((headers, body + tamper))
        started = time.monotonic()
        async with self.http.post(self.deliver + path, data=body + tamper, headers=headers) as response:
            return Reply(response.status, await response.text(), time.monotonic() - started)

    async def interact(self, payload: dict[str, Any]) -> Reply:
        return await self.post("/slack/interactions", urlencode({"payload": json.dumps(payload)}).encode())

    async def command(self, text: str, user: str) -> Reply:
        fields = {
            "command": "/approvals", "text": text, "user_id": user, "team_id": TEAM, "trigger_id": "t", "channel_id": "C1",
            "response_url": f"http://127.0.0.1:{self.port}/actions/{uuid.uuid4().hex}",
        }  # fmt: skip
        return await self.post("/slack/commands", urlencode(fields).encode())

    async def event(self, event: dict[str, Any]) -> Any:
        told = {"type": "event_callback", "team_id": TEAM, "api_app_id": APP, "event": event, "event_id": uuid.uuid4().hex}
        if self.events == "socket":
            return await self.envelope("events_api", told)
        return await self.post("/slack/events", json.dumps(told).encode())

    async def envelope(self, kind: str, payload: dict[str, Any], *, within: float = 3.0) -> Any:
        """Send a message over a socket and return its acknowledgement. Raises `TimeoutError` after 3 s, as Slack gives up."""
        name = str(uuid.uuid4())
        await self.sockets[-1].send_json(
            {"type": kind, "envelope_id": name, "accepts_response_payload": True, "payload": payload}
        )
        async with asyncio.timeout(within):
            await self.until(lambda: name in self.acknowledged)
        return self.acknowledged[name]

    # -- the front itself ---------------------------------------------------------------------------------

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        fields = await _fields(request)
        self.calls.append((method, fields, time.monotonic()))
        fault = next((one for one in self.faults if one.strikes(method)), None)
        if fault is not None and (struck := await fault.strike(lambda: self._forward(request, method, fields), request)):
            self._told.set()
            return struck
        if (wait := self.limits.refuse(method, fields)) is not None:
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": str(wait)})
        answer = await self._own(method, fields) or await self._forward(request, method, fields)
        self._told.set()
        return answer

    async def _own(self, method: str, fields: dict[str, Any]) -> web.Response | None:
        if method == "apps.connections.open":
            return web.json_response({"ok": True, "url": f"ws://127.0.0.1:{self.port}/link"})
        if method == "usergroups.users.list":
            members = self.usergroups.get(str(fields.get("usergroup")))
            return web.json_response(
                {"ok": True, "users": members} if members is not None else {"ok": False, "error": "no_such_subteam"}
            )
        return None

    async def _forward(self, request: web.Request, method: str, fields: dict[str, Any]) -> web.Response:
        headers = {"Authorization": request.headers.get("Authorization", "")}
        async with self.http.post(f"{self.emulator}/api/{method}", headers=headers, json=fields) as response:
            told = await response.json()
            self._noticed(method, fields, told)
            heads = {name: response.headers.get(name, "") for name in ("x-oauth-scopes", "Date")}
            return web.json_response(told, status=response.status, headers={**heads, **self.heads})

    def _noticed(self, method: str, fields: dict[str, Any], told: dict[str, Any]) -> None:
        if not told.get("ok"):
            return
        if method == "views.publish":
            self.homes[str(fields["user_id"])] = fields["view"]
        if method == "views.open":
            self.modals.append((self._triggers.get(str(fields["trigger_id"]), ""), {**told["view"], **fields["view"]}))
        if method == "users.info":
            told["user"].update(self.accounts.get(str(fields["user"]), {}))
        if method == "chat.postMessage" and fields.get("metadata") and self.events:
            happened = {
                "type": "message_metadata_posted", "app_id": APP, "user_id": BOT_USER, "bot_id": "B0APPROVALS",
                "channel_id": told["channel"], "message_ts": told["ts"], "metadata": fields["metadata"],
            }  # fmt: skip
            task = asyncio.create_task(self.event(happened))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        await socket.send_json({"type": "hello", "num_connections": len(self.sockets), "connection_info": {"app_id": APP}})
        self._told.set()
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    told = json.loads(message.data)
                    self.acknowledged[told["envelope_id"]] = told
                    self._told.set()
        finally:
            self.sockets.remove(socket)
            self._told.set()
        return socket

    async def _answered(self, request: web.Request) -> web.Response:
        self.answers_said.append(await request.json())
        self._told.set()
        return web.Response(text="ok")

    def counted(self) -> dict[str, int]:
        """How often each method was called."""
        counts: dict[str, int] = defaultdict(int)
        for method, *_ in self.calls:
            counts[method] += 1
        return dict(counts)


async def _fields(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        body: dict[str, Any] = await request.json()
        return {**request.query, **body}
    return {**request.query, **{name: str(value) for name, value in (await request.post()).items()}}
