"""Socket Mode: Slack's messages over a WebSocket that the broker opens, for where no address can be reached from outside.

Two brokers hold one socket each, by leases, so that one can fail; the rest stand by. Slack sends each message to one socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import aiohttp
import anyio
import msgspec
import structlog

from broker.channels.slack.api import SlackApi
from broker.channels.slack.arrivals import Arrival, command, complaint, encode, event, interaction
from broker.channels.slack.ports import Arrivals, Leases
from broker.channels.slack.troubles import Troubles
from broker.errors import UNREADABLE, ChannelBusy, ChannelError, ChannelRefused, Malformed, StoreUnavailable

log = structlog.get_logger()

SEATS = ("slack-socket-0", "slack-socket-1")
APP_TOKEN = "the app token"
# Seconds: of a lease, between two tries to connect, of silence that Slack's own pings should break, of rest after a refusal.
LEASE, RETRY, PING, REST = 10.0, 2.0, 15.0, 60.0


class Envelope(msgspec.Struct):
    """One message of Socket Mode (docs.slack.dev/apis/events-api/using-socket-mode)."""

    type: str = ""
    envelope_id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    reason: str = ""


class SocketDoor:
    """Holds one socket while it has a seat. What comes is kept, then acknowledged; the work comes later."""

    def __init__(
        self, api: SlackApi, session: aiohttp.ClientSession, arrivals: Arrivals, leases: Leases, troubles: Troubles, *,
        arrived: Callable[[], None], broker: str,
    ) -> None:  # fmt: skip
        self._api = api
        self._session = session
        self._arrivals = arrivals
        self._leases = leases
        self._troubles = troubles
        self._arrived = arrived
        self._broker = broker

    async def forever(self) -> None:
        lasts = timedelta(seconds=LEASE)
        while True:
            for seat in SEATS:
                if await self._taken(seat, lasts):
                    await self._seated(seat, lasts)
                    break
            await anyio.sleep(LEASE / 3)

    async def _taken(self, seat: str, lasts: timedelta) -> bool:
        try:
            return await self._leases.lease(seat, self._broker, lasts)
        except StoreUnavailable:
            return False

    async def _seated(self, seat: str, lasts: timedelta) -> None:
        """Hold a socket for as long as the seat is ours."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._connected)
                while await self._taken(seat, lasts):  # noqa: ASYNC110 - a lease has no event
                    await anyio.sleep(LEASE / 3)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), suppress(StoreUnavailable):
                await self._leases.give_up(seat, self._broker)

    async def _connected(self) -> None:
        """Keep one socket open. When Slack says that it will close it, the next is opened first."""
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    replaced = asyncio.Event()
                    socket = await self._opened()
                    tasks.start_soon(self._listen, socket, replaced)
                    await replaced.wait()
                except ChannelRefused as refused:
                    await self._noted(refused.reason)
                    await anyio.sleep(REST)
                except ChannelBusy as busy:
                    await anyio.sleep(busy.after)
                except (ChannelError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    log.warning("slack.socket.retries", error=type(error).__name__)
                    await anyio.sleep(RETRY)

    async def _noted(self, reason: str) -> None:
        with suppress(StoreUnavailable):
            await self._troubles.note(APP_TOKEN, reason)

    async def _opened(self) -> aiohttp.ClientWebSocketResponse:
        told = await self._api.read("apps.connections.open")
        socket = await self._session.ws_connect(str(told.get("url", "")), heartbeat=PING, max_msg_size=1 << 22)
        with suppress(StoreUnavailable):
            await self._troubles.over(APP_TOKEN)
        return socket

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, replaced: asyncio.Event) -> None:
        """Read until the socket ends. `replaced` is set as soon as another is needed."""
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._read(socket, message.data, replaced)
        except (aiohttp.ClientError, OSError):
            log.info("slack.socket.broke")
        finally:
            replaced.set()
            with anyio.CancelScope(shield=True), suppress(aiohttp.ClientError, OSError):
                await socket.close()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, text: str, replaced: asyncio.Event) -> None:
        try:
            envelope = msgspec.json.decode(text, type=Envelope)
        except UNREADABLE:
            log.warning("slack.socket.malformed")
            return
        if envelope.type == "disconnect":
            log.info("slack.socket.renewed", reason=envelope.reason)
            replaced.set()
        elif envelope.envelope_id:
            answer = await self._kept(envelope)
            if answer is not None:
                await socket.send_json({"envelope_id": envelope.envelope_id, **answer})

    async def _kept(self, envelope: Envelope) -> dict[str, Any] | None:
        """Keep what an envelope holds. Returns what goes with the acknowledgement; None: not kept, so not acknowledged."""
        try:
            told = _told(envelope)
            if (wrong := complaint(told)) is not None:
                return {"payload": wrong}
            if told is not None:
                await self._arrivals.put(encode(told), f"socket:{envelope.envelope_id}")
                self._arrived()
        except Malformed:
            log.warning("slack.refused", path=envelope.type, why="malformed")
        except StoreUnavailable:
            return None
        return {}


def _told(envelope: Envelope) -> Arrival | None:
    payload = bytes(envelope.payload)
    match envelope.type:
        case "interactive":
            return interaction(payload)
        case "slash_commands":
            return command(_texts(payload))
        case "events_api":
            happened = event(payload)
            return None if isinstance(happened, str) else happened
        case _:
            return None


def _texts(payload: bytes) -> dict[str, str]:
    try:
        fields = msgspec.json.decode(payload, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise Malformed("a command that can't be read") from None
    return {name: value for name, value in fields.items() if isinstance(value, str)}
