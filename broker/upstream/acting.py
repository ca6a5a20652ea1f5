"""For whom a message goes upstream. Servers that are used with the user's own access ask for it; where it is not known, no
message leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec

from broker.domain.calls import Caller

BROKER = Caller(agent="approval-broker")
"""The broker itself, which asks servers for what they offer."""

_acting: ContextVar[Caller | None] = ContextVar("acting", default=None)


def acting() -> Caller | None:
    """The caller whose message is under way in this task; None where nobody said."""
    return _acting.get()


Brought = ParamSpec("Brought")


@contextmanager
def speaking_for(caller: Caller) -> Iterator[None]:
    """Speak for `caller` while this is open."""
    before = _acting.set(caller)
    try:
        yield
    finally:
        _acting.reset(before)


def acting_for(
    authenticate: Callable[Brought, Coroutine[Any, Any, Caller]],
) -> Callable[Brought, Coroutine[Any, Any, Caller]]:
    """Return `authenticate`, after which this task, and those that it starts, speak for whom it found."""

    async def known(*brought: Brought.args, **named: Brought.kwargs) -> Caller:
        caller = await authenticate(*brought, **named)
        _acting.set(caller)
        return caller

    return known
