"""Devices that want to be told: subscriptions as browsers make them (W3C Push API), each of one person."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from broker.channels.push.ports import Names
from broker.errors import Forbidden, Malformed, TooMany

# Where browsers' own push services lie. Any other address would let a visitor choose whom the broker speaks to.
SERVICES = (
    "https://fcm.googleapis.com", "https://*.push.services.mozilla.com", "https://*.push.apple.com",
    "https://*.notify.windows.com",
)  # fmt: skip
MOST, LONGEST = 10, 1_000


class Device(msgspec.Struct, frozen=True):
    """One subscription. `groups` are those that the sign-in vouched for when it was made; `name` is the browser's."""

    person: str
    endpoint: str
    p256dh: str
    auth: str
    made_at: datetime
    groups: tuple[str, ...] = ()
    name: str = ""

    @property
    def id(self) -> str:
        return hashlib.sha256(self.endpoint.encode()).hexdigest()[:24]


class _Keys(msgspec.Struct):
    p256dh: str
    auth: str


class _Subscription(msgspec.Struct):
    endpoint: str
    keys: _Keys


class Devices:
    """`key` is the public half of the key by which push services know this broker (VAPID, RFC 8292), in base64url."""

    def __init__(self, names: Names, key: str, *, clock: Callable[[], datetime], services: Sequence[str] = SERVICES) -> None:
        self._names = names
        self._clock = clock
        self._services = services
        self.key = key

    async def add(self, person: str, groups: tuple[str, ...], told: str, name: str = "") -> Device:
        """Keep the subscription that a browser made, in its own JSON. Another person's on the same device is replaced.

        Raises `Malformed`, `Forbidden` for an unknown push service, `TooMany`.
        """
        made = _read(told)
        if not any(_within(made.endpoint, service) for service in self._services):
            raise Forbidden("the push service of this browser is not known here")
        device = Device(person, made.endpoint, made.keys.p256dh, made.keys.auth, self._clock(), groups, name[:60])
        others = [one for one in await self.of(person) if one.id != device.id]
        if len(others) >= MOST:
            raise TooMany(f"{MOST} devices are told already: remove one first")
        await self._names.put(device.id, msgspec.json.encode(device))
        return device

    async def of(self, person: str) -> list[Device]:
        """The devices of one person, the oldest first."""
        mine = [device for device in (await self.all()).values() if device.person == person]
        return sorted(mine, key=lambda device: device.made_at)

    async def all(self) -> Mapping[str, Device]:
        return {name: msgspec.json.decode(held, type=Device) for name, held in (await self._names.all()).items()}

    async def get(self, device_id: str) -> Device | None:
        held = await self._names.get(device_id)
        return msgspec.json.decode(held, type=Device) if held else None

    async def remove(self, person: str, device_id: str) -> bool:
        """Forget a device of this person. Returns whether there was one."""
        device = await self.get(device_id)
        return device is not None and device.person == person and await self._names.delete(device_id)

    async def gone(self, device_id: str) -> None:
        """The push service knows it no more."""
        await self._names.delete(device_id)


def _read(told: str) -> _Subscription:
    """Raises `Malformed` for what no browser made."""
    try:
        made = msgspec.json.decode(told, type=_Subscription)
        point, secret = _bytes(made.keys.p256dh), _bytes(made.keys.auth)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        raise Malformed("the subscription can't be read") from None
    if len(made.endpoint) > LONGEST or len(point) != 65 or len(secret) != 16:
        raise Malformed("the subscription can't be read")
    return made


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _within(endpoint: str, service: str) -> bool:
    """Does an address lie at a service? Neither a port nor a name beside the host may hide another place."""
    try:
        parts = urlsplit(endpoint)
        known = urlsplit(service)
        return parts.scheme == known.scheme and fnmatchcase(parts.netloc.lower(), known.netloc)
    except ValueError:
        return False
