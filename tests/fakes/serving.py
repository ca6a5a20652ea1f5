"""Running toy servers as processes of their own: each binds a free port, prints its address, and ends with its parent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any

import uvicorn

_READY = "listening on "


def serve(app: Any, path: str = "/mcp") -> None:
    """Serve an ASGI app on 127.0.0.1, at the port of TOY_PORT or a free one; print its address once it listens.

    It ends when standard input ends.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(os.environ.get("TOY_PORT", "0"))))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    listener.listen(2048)
    print(f"{_READY}http://127.0.0.1:{listener.getsockname()[1]}{path}", flush=True)
    server.run(sockets=[listener])


def _end_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


@contextmanager
def started(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a program that says `listening on ADDRESS` in a line of its output; yield the address, end it on the way out."""
    environment = {**os.environ, **(env or {})}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            address = next((line.removeprefix(_READY).strip() for line in process.stdout if line.startswith(_READY)), "")
            if not address:
                raise RuntimeError(f"{command[-1]} did not start")
            with _drained(process.stdout):
                try:
                    yield address
                finally:
                    process.kill()
        finally:
            process.kill()


@contextmanager
def _drained(output: IO[str]) -> Iterator[None]:
    """Read on to the end: a full pipe would stop the program."""
    reading = threading.Thread(target=output.read)
    reading.start()
    try:
        yield
    finally:
        reading.join()


def running(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> AbstractContextManager[str]:
    """`started` for a module of ours: `python -m module`."""
    return started([sys.executable, "-m", module, *arguments], env)
