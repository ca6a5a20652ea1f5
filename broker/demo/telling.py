"""What the demo prints: one line for each step, in columns, with colour where a person reads it."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from broker.domain.text import clipped, visible

_COLOURS = {"agent": 36, "broker": 35, "person": 33, "check": 32, "wrong": 31}


class Telling:
    """Prints steps. `who` is agent, broker, person, check or wrong."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._colour = out.isatty()

    def step(self, who: str, text: str) -> None:
        first, *rest = text.splitlines() or [""]
        name = f"{who:>7}"
        mark = f"\x1b[{_COLOURS[who]}m{name}\x1b[0m" if self._colour else name
        self.plain(f"{mark}  {first}")
        for line in rest:
            self.plain(f"{'':>7}  {line}")

    def plain(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)


def call_text(server: str, tool: str, arguments: dict[str, Any]) -> str:
    """Return a call as one line. Agents' words: what is invisible is made visible."""
    return clipped(visible(f"{server}.{tool} {json.dumps(arguments, ensure_ascii=False)}"), 160)
