"""Processes of the bench: started, found ready, measured and ended. None outlives the bench."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from broker.errors import ConfigInvalid


def more_files() -> int:
    """Raise the soft limit of open files to the hard one; children inherit it. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def started(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of its own group: asked to stop at the end, killed after 10 s. `log` takes what it says."""
    with log.open("wb") if log else nullcontext() as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file or subprocess.PIPE, stderr=file, env=os.environ | dict(env or {}),
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        _end(process)
        if process.stdout:
            process.stdout.close()


@contextmanager
def listening(module: str, *args: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `python -m module` that prints its port as its first line; yields the process and the port."""
    with started([sys.executable, "-m", module, *args]) as process:
        assert process.stdout
        line = process.stdout.readline().strip()
        if not line:
            raise ConfigInvalid(f"{module} did not start")
        yield process, int(line)


def run_json(module: str, document: bytes) -> bytes:
    """Run `python -m module` with `document` on its standard input; returns what it printed."""
    with started([sys.executable, "-m", module]) as process:
        printed, _ = process.communicate(document)
        if process.returncode:
            raise ConfigInvalid(f"{module} ended with {process.returncode}")
        return printed


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            continue


def memory_kib(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def children(pid: int) -> tuple[int, ...]:
    """Return the processes that descend from `pid`."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found: list[int] = [pid]
    for parent in found:
        found.extend(child for child, its in parents.items() if its == parent)
    return tuple(found[1:])
