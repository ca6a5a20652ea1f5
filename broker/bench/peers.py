"""Peers: other Python MCP proxies, each from the package index in an environment of its own, in front of the same upstream."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from broker.bench.load import Target
from broker.bench.processes import children, started
from broker.errors import ConfigInvalid

_FASTMCP = """
import sys
from fastmcp.server import create_proxy
create_proxy(sys.argv[1]).run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), json_response=True,
                              show_banner=False, log_level="ERROR")
"""
# One upstream session for everybody: faster, and FastMCP warns that contexts mix. Shown because it is the kinder comparison.
_FASTMCP_SHARED = """
import asyncio, sys
from fastmcp import Client
from fastmcp.server import create_proxy
async def main():
    async with Client(sys.argv[1]) as client:
        await create_proxy(client).run_http_async(host="127.0.0.1", port=int(sys.argv[2]), json_response=True,
                                                  show_banner=False, log_level="error")
asyncio.run(main())
"""


class Peer(msgspec.Struct, frozen=True):
    """`command(bin, upstream URL, port)` is how it is started."""

    name: str
    package: str
    command: Callable[[Path, str, int], list[str]]


def _mcp_proxy(bin: Path, url: str, port: int) -> list[str]:
    # It has no HTTP to HTTP mode: HTTP to stdio, and a second copy of it from stdio to HTTP.
    program = str(bin / "mcp-proxy")
    quiet = ["--log-level", "ERROR"]
    return [program, *quiet, "--port", str(port), "--", program, *quiet, "--transport", "streamablehttp", url]


PEERS = (
    Peer("fastmcp", "fastmcp", lambda bin, url, port: [str(bin / "python"), "-c", _FASTMCP, url, str(port)]),
    Peer("fastmcp, one session", "fastmcp", lambda bin, url, port: [str(bin / "python"), "-c", _FASTMCP_SHARED, url, str(port)]),
    Peer("mcp-proxy", "mcp-proxy", _mcp_proxy),
)


def environment(package: str) -> tuple[Path, str]:
    """Return the `bin` of an environment that holds the newest `package`, made on first use, and the version it got."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "approval-broker" / "bench" / package
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        print(f"installing {package} into {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        quiet = ["-qq", "--disable-pip-version-check"]
        if subprocess.run([str(python), "-m", "pip", "install", *quiet, package], check=False).returncode:
            raise ConfigInvalid(f"pip could not install {package}")
        (home / "ready").touch()
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    version = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    return home / "bin", version


@contextmanager
def peers(url: str) -> Iterator[tuple[Target, ...]]:
    """Run every peer in front of `url`; yields where they listen."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_running(peer, url)) for peer in PEERS)


@contextmanager
def _running(peer: Peer, url: str) -> Iterator[Target]:
    bin, version = environment(peer.package)
    port = _free_port()
    with started(peer.command(bin, url, port), log=Path(os.devnull)) as process:
        _wait_for(port, peer.name)
        pids = (process.pid, *children(process.pid))
        yield Target(f"{peer.name} {version}", port, pids=pids)


def _free_port() -> int:
    # Taken again by the peer a moment later: they can't be handed a socket.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, name: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise ConfigInvalid(f"{name} did not listen within {seconds:.0f} s")
