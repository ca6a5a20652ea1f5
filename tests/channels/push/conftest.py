"""A push service on the loopback, phones that subscribe to it, and a broker's pages and channel that tell them.

`pushing`  a `Pushing`: park requests on its `site`, and see what arrives where
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import http_ece
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.approvals.courier import Courier
from broker.channels.push.channel import PushChannel, PushParts
from broker.channels.push.devices import Devices
from broker.channels.push.sending import Sender, ServerKey
from broker.outgoing import Reach, client
from broker.store.open import Store
from tests.channels.web.conftest import Site, served

KEY = ServerKey(b"k" * 32)


class Phone:
    """One browser's subscription, with the keys that open what is sent to it."""

    def __init__(self, service: str, name: str = "phone") -> None:
        self.name = name
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)
        point = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": _text(point), "auth": _text(self._auth)}
        self.subscription: dict[str, Any] = {"endpoint": f"{service}/to/{name}", "expirationTime": None, "keys": keys}

    def opened(self, body: bytes) -> bytes:
        words: bytes = http_ece.decrypt(body, private_key=self._private, auth_secret=self._auth, version="aes128gcm")
        return words


@dataclass
class PushService:
    """Takes messages. `answers` are the statuses that it gives next, and the heads beside them; 201 when there are none."""

    url: str = ""
    messages: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    refused: int = 0
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        status, heads = self.answers.pop(0) if self.answers else (201, {})
        if status < 300:
            self.messages.append((request.match_info["name"], {k.lower(): v for k, v in request.headers.items()}, body))
        else:
            self.refused += 1
        self.told.set()
        return web.Response(status=status, headers=heads)

    async def arrived(self, count: int) -> list[str]:
        """Wait for so many messages, and return to whom they went."""
        with anyio.fail_after(10):
            while len(self.messages) < count:
                self.told.clear()
                await self.told.wait()
        return [name for name, *_ in self.messages]


@dataclass
class Pushing:
    site: Site
    service: PushService
    devices: Devices
    channel: PushChannel

    async def subscribed(self, person: str, name: str = "phone", **changes: Any) -> tuple[Phone, Any]:
        """Let somebody subscribe a phone on their account page. Returns it, and the page's answer."""
        phone, visitor = Phone(self.service.url, name), await self.site.visitor(person)
        form = {"csrf": await self.site.csrf(visitor), "subscription": json.dumps(phone.subscription | changes)}
        return phone, await visitor.post("/account/devices", data=form)


@asynccontextmanager
async def push_service() -> AsyncIterator[PushService]:
    service = PushService()
    app = web.Application()
    app.router.add_post("/to/{name}", service.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    try:
        yield service
    finally:
        await runner.cleanup()


@pytest.fixture
async def pushing(store: Store) -> AsyncIterator[Pushing]:
    async with pushed(store) as pushing:
        yield pushing


@asynccontextmanager
async def pushed(store: Store) -> AsyncIterator[Pushing]:
    async with AsyncExitStack() as rooms:
        service = await rooms.enter_async_context(push_service())
        devices = Devices(store.devices, KEY.public, clock=store.clock, services=("http://127.0.0.1:*",))
        site = await rooms.enter_async_context(served(store, devices=devices))
        channel = await told_by(rooms, site, devices, broker="broker-1")
        yield Pushing(site, service, devices, channel)


async def told_by(rooms: AsyncExitStack, site: Site, devices: Devices, *, broker: str) -> PushChannel:
    """Run one broker's channel and courier."""
    store = site.store
    session = await rooms.enter_async_context(client(Reach(always=["127.0.0.1/32"])))
    sender = Sender(KEY, session, contact="https://approvals.example.com", clock=store.clock)
    channel = PushChannel(
        PushParts(devices, sender, store.pushes, store.leases, site.desk, store.requests, store.clock, broker, retry=0.05)
    )
    await rooms.enter_async_context(channel.running())
    await rooms.enter_async_context(Courier(store.outbox, store.requests, [channel]).running())
    return channel


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
