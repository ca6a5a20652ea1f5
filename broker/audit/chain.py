"""The chain: each event's hash covers the one before it, and a signed seal covers a run of events.

An entry is the bytes that the store kept, unchanged: what is proved is what was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec
import rfc8785

from broker.errors import UNREADABLE

GENESIS = "0" * 64

# Canonical JSON knows no greater ones.
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Seal(msgspec.Struct, frozen=True):
    """A signed statement: events `first` to `last`, chained onto `before`, end in `head`. `key` names the signing key."""

    shard: _Number
    first: _Number
    last: _Number
    before: str
    head: str
    at: datetime
    key: str
    signature: str = ""

    def statement(self) -> bytes:
        """The bytes that are signed: canonical JSON (RFC 8785) of everything but the signature."""
        told = {name: value for name, value in msgspec.to_builtins(self).items() if name != "signature"}
        return rfc8785.dumps(told)


_seal = msgspec.json.Decoder(Seal).decode


def seal_of(head: bytes | None) -> Seal | None:
    """Return what the store keeps as its last seal; None where there is none, or none that can be read."""
    try:
        return _seal(head) if head else None
    except UNREADABLE:
        return None


class Batch(msgspec.Struct, frozen=True):
    """One line of a segment file: a seal and its entries."""

    seal: Seal
    entries: tuple[msgspec.Raw, ...]


def links_of(before: str, first: int, entries: Iterable[bytes]) -> list[bytes]:
    """Return the hash of each entry of a run that starts with number `first`: SHA-256 over the hash before it, its number
    (8 bytes) and its bytes.
    """
    link, links = bytes.fromhex(before), list[bytes]()
    for number, entry in enumerate(entries, first):
        link = hashlib.sha256(link + number.to_bytes(8, "big") + entry).digest()
        links.append(link)
    return links


class _Event(msgspec.Struct, frozen=True):
    at: Annotated[datetime, msgspec.Meta(tz=True)]


_event = msgspec.json.Decoder(_Event).decode


def moment_of(entry: bytes) -> datetime:
    """Return when an event happened. Raises `msgspec.MsgspecError` for what is none."""
    try:
        return _event(entry).at
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(type(error).__name__) from None
