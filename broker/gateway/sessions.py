"""Sealed ids: what a client holds of an upstream's session, or of its own waiting, works for its own principal only.

A seal is a keyed MAC (BLAKE2b, 16 bytes) over kind, principal, server and content, so an id of another principal, server
or kind reads like one that never was. Every broker with the same key can open it, also after a restart.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeVar

import msgspec

from broker.domain.calls import Caller
from broker.domain.requests import RequestId
from broker.gateway.envelope import RpcId

# A session id of ours holds the upstream's: what is longer would not fit into the heads that we take ourselves.
LONGEST_SESSION = 2048
EVENT_PREFIX = "broker."
# Sessions whose seal was good are not opened anew with every call.
_REMEMBERED = 1_000
# Begins what is handed out with a question to the caller's own user.
ASKED_PREFIX = "broker.asked."
# Begins the state of a question that a server asked back.
BACK_PREFIX = "broker.back."

Sealed = TypeVar("Sealed", bound=msgspec.Struct)


class Session(msgspec.Struct, frozen=True, array_like=True):
    """One session of the older era: the upstream's own id, and what the client said of itself when it began.

    `elicits` are the ways in which its user can be asked, with blanks between.
    """

    upstream: str
    client: str = ""
    version: str = ""
    elicits: str = ""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a caller waits: enough to come back by `GET` with `Last-Event-ID`."""

    request: RequestId
    rpc_id: RpcId
    session: str = ""


class Joint(msgspec.Struct, frozen=True, array_like=True):
    """One session at the address of all servers: what its client said of itself, to be said to each server in turn."""

    nonce: str
    protocol: str
    capabilities: dict[str, Any]
    info: dict[str, Any]


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """One question to the caller's own user: about which request and call, until when (seconds of the epoch), in which mode."""

    request: RequestId
    digest: str
    until: float
    nonce: str
    mode: str


class Back(msgspec.Struct, frozen=True, array_like=True):
    """What a server asked back: in which request, until when it can be answered (seconds of the epoch), its own state.

    `asked` are the words of its questions, by name.
    """

    request: RequestId
    until: float
    state: str | None = None
    asked: dict[str, str] = {}


class Seals:
    """Makes and opens sealed ids with one key of at least 16 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, digest_size=32).digest()
        self._opened_before: dict[tuple[str, str, str], Session] = {}

    def session(self, session: Session, caller: Caller, server: str) -> str:
        return self._sealed(b"session", session, caller, server)

    def open_session(self, text: str, caller: Caller, server: str) -> Session | None:
        """Return the session behind an id, None for one that is foreign or forged."""
        key = (text, caller.principal, server)
        found = self._opened_before.get(key) or self._opened(b"session", text, caller, server, Session)
        if found is not None:
            if len(self._opened_before) >= _REMEMBERED:
                self._opened_before.clear()
            self._opened_before[key] = found
        return found

    def joint(self, joint: Joint, caller: Caller) -> str:
        return self._sealed(b"joint", joint, caller, "")

    def open_joint(self, text: str, caller: Caller) -> Joint | None:
        return self._opened(b"joint", text, caller, "", Joint)

    def event(self, place: Place, caller: Caller, server: str) -> str:
        """Return an event id that brings its caller back to `place`."""
        return EVENT_PREFIX + self._sealed(b"event", place, caller, server)

    def open_event(self, text: str, caller: Caller, server: str) -> Place | None:
        return self._opened(b"event", text.removeprefix(EVENT_PREFIX), caller, server, Place)

    def asked(self, asked: Asked, caller: Caller, server: str) -> str:
        """Return what a client brings back with its user's answer."""
        return ASKED_PREFIX + self._sealed(b"asked", asked, caller, server)

    def open_asked(self, text: str, caller: Caller, server: str) -> Asked | None:
        return self._opened(b"asked", text.removeprefix(ASKED_PREFIX), caller, server, Asked)

    def back(self, back: Back, caller: Caller, server: str) -> str:
        """Return the state that a client brings back with its answers to a server."""
        return BACK_PREFIX + self._sealed(b"back", back, caller, server)

    def open_back(self, text: str, caller: Caller, server: str) -> Back | None:
        return self._opened(b"back", text.removeprefix(BACK_PREFIX), caller, server, Back)

    def _sealed(self, kind: bytes, content: Any, caller: Caller, server: str) -> str:
        packed = msgspec.json.encode(content)
        return _text(packed) + "." + _text(self._mac(kind, packed, caller, server))

    def _opened(self, kind: bytes, text: str, caller: Caller, server: str, shape: type[Sealed]) -> Sealed | None:
        packed, _, mac = text.partition(".")
        try:
            content, told = _bytes(packed), _bytes(mac)
        except ValueError:
            return None
        if not hmac.compare_digest(told, self._mac(kind, content, caller, server)):
            return None
        return msgspec.json.decode(content, type=shape)

    def _mac(self, kind: bytes, content: bytes, caller: Caller, server: str) -> bytes:
        bound = msgspec.json.encode([kind.decode(), caller.principal, server])
        return hashlib.blake2b(bound + b"\0" + content, key=self._key, digest_size=16).digest()


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
