"""Slack's Web API by `emulate`, as a process of its own: one workspace, which can be made fresh again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.node.install import install


class Emulator:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def reset(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("reset\n")
        self._process.stdin.flush()
        while self._process.stdout.readline().strip() != "reset":
            pass


@contextmanager
def emulated(seed: Mapping[str, Any], folder: Path) -> Iterator[Emulator]:
    """Run the emulator with the users, channels and tokens of `seed`."""
    node = install()
    file = folder / "seed.json"
    file.write_text(json.dumps(seed))
    script = Path(__file__).with_name("slack_emulator.mjs")
    command = [str(node.program), str(script), str(node.modules), str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if line.startswith("listening on "))
            yield Emulator(process, line.removeprefix("listening on ").strip())
        finally:
            process.kill()
