"""Server-sent events as they come off the wire (WHATWG HTML, section 9.2.6): whole events, however the bytes are cut."""

from __future__ import annotations

import re

from broker.errors import OutcomeLost

# One event may be this large: a tool's whole result is one event.
LARGEST_EVENT = 32 << 20

# Atomic, so that the two halves of one CRLF are never taken for an empty line.
_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE = re.compile(rb"\r\n|\r|\n")


class Event:
    """One whole event. Its fields are only read when somebody asks for them."""

    __slots__ = ("_block", "_fields")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._fields: dict[bytes, bytes] | None = None

    @property
    def raw(self) -> bytes:
        """The event as it goes on, with its empty line."""
        return self._block + b"\n\n"

    @property
    def id(self) -> str:
        return self._read().get(b"id", b"").decode("latin-1")

    @property
    def data(self) -> bytes:
        """Its data lines, joined by line feeds."""
        return self._read().get(b"data", b"")

    @property
    def retry(self) -> float | None:
        """Seconds after which the server wants to be asked again."""
        told = self._read().get(b"retry", b"")
        return int(told) / 1000 if told.isdigit() and len(told) < 8 else None

    def _read(self) -> dict[bytes, bytes]:
        if self._fields is None:
            self._fields = _fields(self._block)
        return self._fields


class Cutter:
    """Cuts a stream of bytes into events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes. Raises `OutcomeLost` beyond `LARGEST_EVENT`."""
        buffer = self._buffer
        buffer += chunk
        events, start = [], 0
        for end in _END.finditer(buffer, max(0, self._seen - 3)):
            block = bytes(buffer[start : end.start()]).lstrip(b"\r\n")
            start = end.end()
            if block:
                events.append(Event(block))
        if start:
            del buffer[:start]
        if len(buffer) > LARGEST_EVENT:
            raise OutcomeLost("the server sent an event that is too large")
        self._seen = len(buffer)
        return events


def _fields(block: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    data: list[bytes] = []
    for line in _LINE.split(block.removeprefix(b"\xef\xbb\xbf")):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name:
            fields[name] = value
    if data:
        fields[b"data"] = b"\n".join(data)
    return fields
