"""What the web needs of a proxy in front that signs people in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Vouched(Protocol):
    @property
    def person(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...


class Proxy(Protocol):
    """A proxy in front that signs people in."""

    def look(self, address: str, told: Callable[[str], Sequence[str]]) -> Vouched | None:
        """Return whom the proxy at `address` names; `told` returns each value of a header. None: nobody, or no such proxy."""
        ...


class NoProxy:
    def look(self, address: str, told: Callable[[str], Sequence[str]]) -> Vouched | None:
        return None
