"""One message to one device: encrypted for it (RFC 8291), signed as ours (RFC 8292), posted to its push service (RFC 8030)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto
from urllib.parse import urlsplit

import aiohttp
import anyio.to_thread
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.channels.push.devices import Device

log = structlog.get_logger()

# Seconds: how long our signature is good for (24 h at most), and the wait where a service names none that makes sense.
SIGNED, WAIT = 12 * 3_600, 60.0
_ORDER = int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)  # of P-256 (SEC 2)


class Fate(Enum):
    """What became of a message."""

    SENT = auto()
    GONE = auto()
    REFUSED = auto()
    LATER = auto()


class Told(msgspec.Struct, frozen=True):
    """`after`: where it has to be tried again, the seconds that the service asks to wait, 0 where it asks for none."""

    fate: Fate
    after: float = 0.0


class ServerKey:
    """The key by which push services know this broker, made of 32 random bytes that all its replicas share."""

    def __init__(self, seed: bytes) -> None:
        self.private = ec.derive_private_key(int.from_bytes(seed, "big") % (_ORDER - 1) + 1, ec.SECP256R1())

    @property
    def public(self) -> str:
        """The public half as browsers take it: the uncompressed point in base64url."""
        point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


class Sender:
    """`contact` is what push services read about whom to ask, a https or mailto address."""

    def __init__(
        self, key: ServerKey, session: aiohttp.ClientSession, *, contact: str, clock: Callable[[], datetime]
    ) -> None:  # fmt: skip
        self._key = key
        self._session = session
        self._contact = contact
        self._clock = clock

    async def send(self, device: Device, words: bytes, *, urgent: bool, lasts: timedelta) -> Told:
        """Post a message that the service keeps for `lasts` at most. Nothing is raised: every failure is an answer."""
        heads, body = await anyio.to_thread.run_sync(self._sealed, device, words)
        heads |= {"ttl": str(max(0, int(lasts.total_seconds()))), "urgency": "high" if urgent else "normal"}
        try:
            async with self._session.post(device.endpoint, data=body, headers=heads, allow_redirects=False) as response:
                return _meaning(response.status, response.headers.get("retry-after", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("push.waits", error=type(error).__name__)
            return Told(Fate.LATER)

    def _sealed(self, device: Device, words: bytes) -> tuple[dict[str, str], bytes]:
        from py_vapid import Vapid02  # type: ignore[import-untyped] # noqa: PLC0415 - has no types; brings an HTTP client
        from pywebpush import WebPusher  # type: ignore[import-untyped] # noqa: PLC0415 - the same

        keys = {"endpoint": device.endpoint, "keys": {"p256dh": device.p256dh, "auth": device.auth}}
        body: bytes = WebPusher(keys).encode(words)["body"]
        parts = urlsplit(device.endpoint)
        claims = {"aud": f"{parts.scheme}://{parts.netloc}", "sub": self._contact}
        signed: dict[str, str] = Vapid02(private_key=self._key.private).sign(
            claims | {"exp": int(self._clock().timestamp()) + SIGNED}
        )
        return {**signed, "content-encoding": "aes128gcm", "content-type": "application/octet-stream"}, body


def _meaning(status: int, wait: str) -> Told:
    if status < 300:
        return Told(Fate.SENT)
    if status in (404, 410):
        return Told(Fate.GONE)
    if status == 429 or status >= 500:
        return Told(Fate.LATER, min(float(wait), 3_600.0) if wait.isdecimal() else 0.0)
    log.warning("push.refused", status=status)
    return Told(Fate.REFUSED)
