"""Python environments of clients that we did not write and whose pins conflict with ours, in `.cache/interop`.

    python tests/interop/environments.py

Each is a folder beside this file with a hashed `requirements.txt`. Nothing is done when all of them are there.
Standard library only, so that `make` can call it.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parent.parent / ".cache" / "interop"
NAMES = ("langchain", "openai_agents")


def python_of(name: str) -> Path:
    """Return the interpreter of an environment, made now if it is not there. Raises `SystemExit` with a remedy."""
    pins = HERE / name / "requirements.txt"
    home = HOME / name
    program = home / "bin" / "python"
    with _alone(name):
        stamp = home / "installed"
        wanted = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
        if stamp.is_file() and stamp.read_text() == wanted:
            return program
        print(f"installing the environment of tests/interop/{name}", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        pip = [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        done = subprocess.run([*pip, "-r", str(pins)], capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            raise SystemExit(f"pip could not install {pins.name} of {name}: check that a package index is reachable")
        stamp.write_text(wanted)
    return program


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One at a time: test workers may all ask at once."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for name in NAMES:
        print(f"{name} is ready: {python_of(name)}")
