"""What the web needs of devices that are told when something waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol


class Device(Protocol):
    """A browser that is told when something waits for its person."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def made_at(self) -> datetime: ...


class Devices(Protocol):
    """Web push. `key` is what a browser needs to subscribe."""

    @property
    def key(self) -> str: ...

    async def of(self, person: str) -> Sequence[Device]: ...

    async def add(self, person: str, groups: tuple[str, ...], told: str, name: str) -> Device:
        """Keep the subscription that a browser made, in its own JSON. Raises `Malformed`, `Forbidden`, `TooMany`."""
        ...

    async def remove(self, person: str, device_id: str) -> bool: ...
