"""Titles: one line for people, with values of the call filled in. They never decide anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.domain.text import clipped, visible

_HOLE = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("caller.user", "tool.name", "server.name")
_LONGEST = 80


def bad_holes(title: str) -> list[str]:
    """Return what stands in braces and can't be filled in."""
    stray = "{" in _HOLE.sub("", title) or "}" in _HOLE.sub("", title)
    wrong = [hole for hole in _HOLE.findall(title) if hole not in _KNOWN and not re.fullmatch(r"args(\.[A-Za-z0-9_-]+)+", hole)]
    return wrong + (["{"] if stray else [])


def rendered(title: str, names: Mapping[str, str], arguments: Mapping[str, Any]) -> str:
    """Return the title for one call: a missing value is `(none)`, a long one is clipped. Redaction comes where it is shown."""

    def fill(found: re.Match[str]) -> str:
        hole = found.group(1)
        if hole in names:
            return clipped(visible(names[hole], keep=""), _LONGEST) or "(none)"
        value = _shown(value_at(arguments, tuple(hole.split(".")[1:])))
        return clipped(visible(value[: 2 * _LONGEST], keep=""), _LONGEST)

    return _HOLE.sub(fill, title)


class _Missing:
    """There is nothing at the path."""


MISSING = _Missing()


def value_at(arguments: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path of names, or MISSING."""
    for name in path:
        if not isinstance(arguments, Mapping) or name not in arguments:
            return MISSING
        arguments = arguments[name]
    return arguments


def _shown(value: Any) -> str:
    if value is MISSING or value is None:
        return "(none)"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
