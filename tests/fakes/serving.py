"""Running toy servers as processes of their own: each binds a free port, prints its address, and ends with its parent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import uvicorn

_READY = "listening on "


def serve(app: Any, path: str = "/mcp") -> None:
    """Serve an ASGI app on a free port of 127.0.0.1; print its address once it listens; end when standard input ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
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
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    assert process.stdout is not None and process.stdin is not None
    emptying = threading.Thread(target=process.stdout.read, daemon=True)  # a full pipe would stop the program
    try:
        address = next((line.removeprefix(_READY).strip() for line in process.stdout if line.startswith(_READY)), "")
        if not address:
            raise RuntimeError(f"{command[-1]} did not start")
        emptying.start()
        yield address
    finally:
        process.kill()
        process.wait()
        if emptying.is_alive():
            emptying.join()
        process.stdin.close()
        process.stdout.close()


def running(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> AbstractContextManager[str]:
    """`started` for a module of ours: `python -m module`."""
    return started([sys.executable, "-m", module, *arguments], env)
