"""The embedded store: one server for each data folder. Brokers attach to it, and the last one out stops it.

Three lock files say what is so, and the kernel drops them with their process: `store.lock` is inherited and held by the
server itself, so two servers can never run on one folder; `users.lock` is shared by the brokers; `start.lock`
lets one of them start at a time. The socket lies in a folder of mode 0700; there is no TCP port.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from broker.errors import BrokerError, ConfigInvalid, StoreUnavailable
from broker.store.binary import find_binary
from broker.store.health import Pulse

log = structlog.get_logger()

# A large append-only file takes its time to load.
START = 60.0
TRY = 2.0
STOP = 5.0
POLL = 0.005
# How long the watch waits after a look, and after a start that failed.
RETRY = 0.05
AGAIN = 1.0
# sun_path holds 104 bytes on macOS and 108 on Linux.
LONGEST_SOCKET_PATH = 100

_CONFIGURATION = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{folder}"
logfile "{folder}/store.log"
daemonize no
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
save ""
maxmemory-policy noeviction
"""


class Embedded:
    """The server of one data folder, as one broker sees it."""

    def __init__(self, data: Path, binary: str = "") -> None:
        """Raises `ConfigInvalid` when the folder can't be ours alone."""
        self._folder = _private(data)
        self._binary = binary
        self._users: BinaryIO | None = None
        self._child = 0
        self.socket = _socket_path(self._folder)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Attach to the running server, or start it. Raises `ConfigInvalid` or `StoreUnavailable`."""
        with ExitStack() as opened:
            users = opened.enter_context((self._folder / "users.lock").open("ab"))
            await _locked(users, fcntl.LOCK_SH, START)  # waits for a last user who is just stopping it
            await self.ensure(START)
            opened.pop_all()
        self._users = users

    async def ensure(self, within: float) -> None:
        """Start the server unless it runs, and wait until it answers. Raises `ConfigInvalid` or `StoreUnavailable`."""
        self._reap()
        with (self._folder / "start.lock").open("ab") as starting:
            await _locked(starting, fcntl.LOCK_EX, within)
            if await _answers(self.socket):
                return
            with (self._folder / "store.lock").open("ab") as running:
                if _lock(running, fcntl.LOCK_EX):
                    await self._spawn(running)
            await self._ready(within)

    async def watch(self, pulse: Pulse) -> None:
        """Start the server again whenever it dies."""
        while True:
            await pulse.down.wait()
            try:
                await self.ensure(TRY)
            except BrokerError as error:
                log.error("store.down", why=error.message)
                await asyncio.sleep(AGAIN)
            await asyncio.sleep(RETRY)

    async def stop(self) -> bool:
        """Leave; the last broker stops the server. Returns whether it was stopped."""
        users, self._users = self._users, None
        if users is None:
            return False
        with users:
            if not _lock(users, fcntl.LOCK_EX):
                return False
            await _shut_down(self._folder, self.socket)
        await _until(lambda: not self._child or self._reap(), TRY)  # it has let go of its lock, and is ending
        return True

    async def _spawn(self, running: BinaryIO) -> None:
        binary = await asyncio.to_thread(find_binary, self._binary)
        configuration = self._folder / "store.conf"
        configuration.write_text(_CONFIGURATION.format(socket=_quoted(self.socket), folder=_quoted(self._folder)))
        self._child = _spawned(binary, configuration, running)
        log.info("store.started", binary=str(binary), folder=str(self._folder))

    async def _ready(self, within: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not await _answers(self.socket):
                    if self._reap():
                        raise StoreUnavailable(f"the embedded store ended at once: see {self._folder / 'store.log'}")
                    await asyncio.sleep(POLL)
                return
        raise StoreUnavailable(f"the embedded store runs and does not answer: see {self._folder / 'store.log'}")

    def _reap(self) -> bool:
        """Return whether our child has ended, and let the kernel forget it."""
        if not self._child:
            return False
        with suppress(ChildProcessError):
            if os.waitpid(self._child, os.WNOHANG)[0] == 0:
                return False
        self._child = 0
        return True


async def stop_server(data: Path) -> bool:
    """Stop the server of a folder that no broker uses, e.g. after one was killed. Returns whether one ran.

    Raises `ConfigInvalid` while a broker uses it.
    """
    folder = _private(data)
    with (folder / "users.lock").open("ab") as users, (folder / "store.lock").open("ab") as running:
        if _lock(running, fcntl.LOCK_EX):
            return False
        if not _lock(users, fcntl.LOCK_EX):
            raise ConfigInvalid("a broker still uses this store: stop the broker, and the store stops with it")
        await _shut_down(folder, _socket_path(folder))
    return True


# -- files, locks and the two commands that need no client ----------------------------------------------------


def _private(data: Path) -> Path:
    folder = data.expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        return folder.resolve()
    except OSError as error:
        raise ConfigInvalid(f"the data folder {folder} can't be used: {error.strerror}; set BROKER_DATA to another") from None


def _socket_path(folder: Path) -> Path:
    """Inside the data folder, or under a short folder of ours where that path is too long for a socket."""
    path = folder / "store.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    short = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"approval-broker-{os.getuid()}"
    with suppress(FileExistsError):
        short.mkdir(mode=0o700)
    found = short.lstat()
    if short.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigInvalid(f"{short} belongs to somebody else: set BROKER_DATA to a shorter path")
    return short / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"


def _spawned(binary: Path, configuration: Path, running: BinaryIO) -> int:
    """Start the server in a session of its own, holding `running`'s lock for as long as it lives. Returns its pid."""
    os.set_inheritable(running.fileno(), True)
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    arguments = [str(binary), str(configuration)]
    return os.posix_spawn(binary, arguments, os.environ, file_actions=silent, setsid=True)


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def _lock(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


async def _locked(file: BinaryIO, kind: int, within: float) -> None:
    if not await _until(lambda: _lock(file, kind), within):
        raise StoreUnavailable(f"another broker holds {file.name} and does not let go")


async def _until(done: Callable[[], bool], within: float) -> bool:
    """Look again and again: the kernel tells nobody when a lock is free. False when the time is over."""
    ends = asyncio.get_running_loop().time() + within
    while not done():
        if asyncio.get_running_loop().time() > ends:
            return False
        await asyncio.sleep(POLL)
    return True


async def _answers(socket: Path) -> bool:
    """Does a server answer PING there? One that is still loading does not."""
    return (await _said(socket, b"PING\r\n")).startswith(b"+PONG")


async def _shut_down(folder: Path, socket: Path) -> None:
    await _said(socket, b"SHUTDOWN\r\n", within=STOP)
    with (folder / "store.lock").open("ab") as running:
        if not await _until(lambda: _lock(running, fcntl.LOCK_EX), STOP):
            log.error("store.runs_on", folder=str(folder))


async def _said(socket: Path, command: bytes, within: float = 1.0) -> bytes:
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(command)
                return await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""
