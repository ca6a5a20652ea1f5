"""Rehearsals in a process of their own: a replay is work for seconds, and no page, call or stream may wait for it.

    python -m broker.channels.web.rehearsing < order > answer

The process gets no setting and no secret of the broker: an order holds all that it needs. What takes too long is ended.
"""

from __future__ import annotations

import os
import resource
import sys

import anyio
import msgspec
import structlog

from broker.errors import BrokerError
from broker.policy.rehearsal import Order, Rehearsal, rehearse

log = structlog.get_logger()

LONGEST = 20.0
MEMORY = 2 << 30
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "TZDIR")


class NotRehearsed(BrokerError):
    """The rehearsal did not end well: nothing is known about the change."""

    code = "not_rehearsed"


class NoSuchRule(BrokerError):
    """There is no such rule, or it has no lines of its own to change."""

    code = "no_such_rule"


class Rehearser:
    """Runs one rehearsal at a time; others wait for it, within their own time."""

    def __init__(self) -> None:
        self._one = anyio.Semaphore(1)

    async def run(self, order: Order) -> Rehearsal:
        """Raises `NotRehearsed` when it takes longer than 20 seconds, its turn included, or fails."""
        try:
            with anyio.fail_after(LONGEST):
                async with self._one:
                    return await _answered(msgspec.msgpack.encode(order))
        except TimeoutError:
            raise NotRehearsed(f"it took longer than {LONGEST:.0f} s, so it was ended: try it on the command line") from None


async def _answered(order: bytes) -> Rehearsal:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    command = [sys.executable, "-P", "-m", __name__]
    done = await anyio.run_process(command, input=order, check=False, env=environment)
    try:
        return msgspec.msgpack.decode(done.stdout, type=Rehearsal)
    except msgspec.DecodeError:
        log.error("web.rehearsal_failed", status=done.returncode, told=done.stderr.decode(errors="replace")[-2_000:])
        raise NotRehearsed("the rehearsal failed: the broker's log says how") from None


def main() -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.msgpack.encode(rehearse(order)))


if __name__ == "__main__":
    main()
