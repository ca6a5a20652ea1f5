"""Web push, wired: the devices that pages add to, and the channel that tells them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from broker.approvals.desk import Desk
from broker.channels.push.channel import PushChannel, PushParts
from broker.channels.push.devices import Devices
from broker.channels.push.sending import Sender, ServerKey
from broker.outgoing import Reach, client
from broker.settings import Settings
from broker.store.open import Store


async def pushing(
    settings: Settings, store: Store, desk: Desk, broker: str, rooms: AsyncExitStack
) -> tuple[Devices, PushChannel]:  # fmt: skip
    """Return the devices and their channel, which delivers until `rooms` closes. Push services lie at public addresses alone."""
    key = ServerKey(await store.keys.signing_key("push"))
    devices = Devices(store.devices, key.public, clock=store.clock)
    session = await rooms.enter_async_context(client(Reach()))
    host = urlsplit(settings.public_url).hostname or ""
    contact = f"https://{host if '.' in host else 'localhost'}"  # services want an address that looks like one
    sender = Sender(key, session, contact=contact, clock=store.clock)
    parts = PushParts(devices, sender, store.pushes, store.leases, desk, store.requests, clock=store.clock, broker=broker)
    channel = PushChannel(parts)
    await rooms.enter_async_context(channel.running())
    return devices, channel
