"""Switch off one defence after the other, in a copy of the code, and see that the test named for its threat fails.

python -m tests.house.switched_off            all of them; status 1 if a test passes without its defence
python -m tests.house.switched_off WORD…      those whose test or file has one of the words in its name
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.house.defences import DEFENCES, Defence
from tests.house.more_defences import MORE
from tests.house.record_defences import KEPT
from tests.house.rooms import ROOT

ALL = (*DEFENCES, *MORE, *KEPT)
_COPIED = ("broker", "tests", "templates", "policies", "pyproject.toml", "README.md", "SECURITY.md")
_LONGEST = 300


def named(test: str, folder: Path = ROOT) -> list[str]:
    """Return where a test is defined, as pytest is told: a name may stand in two files."""
    wanted = re.compile(rf"^(?:async )?def {test}\b", re.M)
    return [
        f"{path.relative_to(folder)}::{test}"
        for path in sorted(folder.glob("tests/**/test_*.py"))
        if wanted.search(path.read_text())
    ]


def survives(defence: Defence, folder: Path) -> str:
    """Return why the test did not fail in `folder` without the defence; empty when it did."""
    path = folder / defence.file
    kept = path.read_text()
    path.write_text(kept.replace(defence.code, defence.off))
    try:
        told = _tested(named(defence.test, folder), folder)
    finally:
        path.write_text(kept)
    if re.search(r"\b\d+ failed\b", told):
        return ""
    return told.strip().splitlines()[-1] if told.strip() else "it said nothing"


def _tested(tests: Sequence[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=",
               "--import-mode=importlib", "--tb=no", *tests]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return "1 failed: it did not end"
    return done.stdout


def _chosen(words: Sequence[str]) -> Iterator[Defence]:
    return (one for one in ALL if not words or any(word in one.test or word in one.file for word in words))


def main(words: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in _COPIED:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        (folder / ".cache").symlink_to(ROOT / ".cache")
        alive, chosen = 0, list(_chosen(words))
        for defence in chosen:
            why = survives(defence, folder)
            alive += bool(why)
            print(f"{'ALIVE ' if why else 'failed'} {defence.test}  [{defence.file}]{f'  {why}' if why else ''}", flush=True)
    print(f"{len(chosen)} defences switched off: {len(chosen) - alive} tests failed, {alive} did not")
    return 1 if alive or not chosen else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
