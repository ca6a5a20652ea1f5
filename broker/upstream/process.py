"""One process of a stdio server: its output as lines, its stderr in our log, its whole tree ended at stop.

The mcp SDK's stdio transport is not used for this: it leaves a server's children behind when the server itself ends in time,
logs what it can't parse, needs a second for a line of 10 MB, and its lines have no limit.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import anyio
import structlog

from broker.domain.text import clipped, visible
from broker.errors import UpstreamUntouched
from broker.upstream.references import Resolved

log = structlog.get_logger()

# Bytes of one message from a server; what is longer is dropped.
LINE_LIMIT = 64 << 20
# Bytes that a server may leave unread before it gets nothing more.
UNREAD_LIMIT = 16 << 20
# Seconds to end by itself after its stdin was closed, then after SIGTERM.
GRACE = 2.0
CHUNK = 1 << 16
# Lines of stderr that go into the log for each process and minute, and the characters of one.
CHATTER = 60
CHATTER_WIDTH = 500
# Variables of our own that a server gets. Not asked of the SDK: imports of it by two threads at once break each other.
INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")


class Process:
    """A running server. Made by `started`; whoever has it must `stop` it."""

    def __init__(self, server: str, process: asyncio.subprocess.Process, secrets: Sequence[str]) -> None:
        self._server = server
        self._process = process
        self._secrets = tuple(secret for secret in secrets if len(secret) > 3)
        self._chatter = asyncio.create_task(self._log_stderr(), name=f"stderr of {server}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ending(self) -> str:
        """How it ended, in words; empty while it runs."""
        status = self._process.returncode
        if status is None:
            return ""
        return f"exit status {status}" if status >= 0 else f"signal {-status}"

    async def write(self, line: bytes) -> None:
        """Hand one message to the server. Raises `UpstreamUntouched` while it is sure that the server can't get it."""
        pipe = self._process.stdin
        assert pipe is not None
        if pipe.is_closing() or self._process.returncode is not None:
            raise UpstreamUntouched(f"{self._server} has ended")
        if pipe.transport.get_write_buffer_size() > UNREAD_LIMIT:
            raise UpstreamUntouched(f"{self._server} does not read what it is sent")
        pipe.write(line + b"\n")
        with suppress(ConnectionError):  # the reader sees the end of the server and says so
            await pipe.drain()

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield what the server writes to its stdout, line by line, until it closes it."""
        assert self._process.stdout is not None
        buffer, spoilt = bytearray(), False
        while chunk := await self._process.stdout.read(CHUNK):
            first, *rest = chunk.split(b"\n")
            buffer += first
            for part in rest:
                if not spoilt:
                    yield bytes(buffer)
                buffer, spoilt = bytearray(part), False
            if len(buffer) > LINE_LIMIT:
                log.warning("stdio.message_too_long", server=self._server, limit=LINE_LIMIT)
                buffer, spoilt = bytearray(), True

    async def stop(self, *, patient: bool = True) -> None:
        """Close its stdin, wait if `patient`, then end all that is left of its process group. Bounded; also when it has ended."""
        with anyio.CancelScope(shield=True):
            with suppress(OSError):
                if self._process.stdin is not None:
                    self._process.stdin.close()
            await self._gone(GRACE if patient else 0.0)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGTERM)
                await self._gone(GRACE)
                os.killpg(self.pid, signal.SIGKILL)
                await self._gone(GRACE)
            with anyio.move_on_after(GRACE):
                await self._process.wait()  # only then it is known how it ended
            self._chatter.cancel()
            with suppress(asyncio.CancelledError):
                await self._chatter
            self._close_pipes()

    async def _gone(self, within: float) -> None:
        """Wait until no process of the group is left. A group is gone only when its leader was reaped, which asyncio does."""
        with anyio.move_on_after(within):
            while _alive(self.pid):  # noqa: ASYNC110 - nothing tells when a process group is empty
                await anyio.sleep(0.01)

    def _close_pipes(self) -> None:
        # A survivor that holds a pipe would keep the transport open, and asyncio has no public way to close it.
        transport: Any = getattr(self._process, "_transport", None)
        if transport is not None:
            with suppress(PermissionError):
                transport.close()

    async def _log_stderr(self) -> None:
        assert self._process.stderr is not None
        pending, room = b"", _Room()
        while chunk := await self._process.stderr.read(CHUNK):
            *lines, pending = (pending + chunk).split(b"\n")
            pending = pending[:CHUNK]
            for line in lines:
                if line.strip() and room.taken():
                    log.info("stdio.stderr", server=self._server, line=self._masked(line))

    def _masked(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace")
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return clipped(visible(text.rstrip()), CHATTER_WIDTH)


class _Room:
    """Room for so many lines in each minute: a server that shouts must not fill the disk."""

    def __init__(self) -> None:
        self._minute = -1.0
        self._left = 0

    def taken(self) -> bool:
        minute = asyncio.get_running_loop().time() // 60
        if minute != self._minute:
            self._minute, self._left = minute, CHATTER
        self._left -= 1
        return self._left >= 0


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def inherited() -> dict[str, str]:
    """The variables that are safe to hand on, as the SDK's client does: never an exported shell function."""
    told = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {name: value for name, value in told.items() if not value.startswith("()")}


async def started(server: str, command: Sequence[str], env: Resolved, cwd: str = "") -> Process:
    """Start a server in a process group of its own, with a small environment and `env` over it.

    Raises `UpstreamUntouched` when it can't be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**inherited(), **env.values},
            cwd=cwd or None,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise UpstreamUntouched(f"{server} could not be started: {why}: {command[0]}") from None
    return Process(server, process, env.secrets)
