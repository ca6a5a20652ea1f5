"""A store of its own that several brokers share, and that a test may kill, freeze and start again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.store.binary import find_binary

_FLAGS = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--port", "0", "--unixsocketperm", "700")


class Store:
    """A server on a unix socket. Its files stay when it is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Return once it answers."""
        self._socket.unlink(missing_ok=True)
        command = [find_binary(), *_FLAGS, "--dir", self._folder, "--unixsocket", self._socket]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > until:
                raise TimeoutError("the store did not start")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut would: nothing is asked, nothing is finished."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It keeps its connections and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self._socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False


@contextmanager
def store(folder: Path) -> Iterator[Store]:
    """Run a store whose socket lies in `folder`: keep the path short."""
    one = Store(folder)
    one.start()
    try:
        yield one
    finally:
        one.kill()
