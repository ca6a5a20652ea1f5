"""What changed between two definitions of a tool, as a person would read it. Pure.

A definition is written by its server, so everything that comes from it is shown with what is invisible made visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import rfc8785

from broker.domain.text import clipped, visible

# Characters of one shown value.
WIDTH = 2_000


class Difference(msgspec.Struct, frozen=True):
    """One thing that changed. `before` or `after` is None where it is new or gone."""

    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.what}: new, {self.after}"
        if self.after is None:
            return f"{self.what}: gone, it was {self.before}"
        if "\n" in self.before + self.after or len(self.before + self.after) > 80:
            return f"{self.what}:\n  - {_indented(self.before)}\n  + {_indented(self.after)}"
        return f"{self.what}: {self.before} → {self.after}"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return what changed, the words that people and models read first, then arguments, then the rest."""
    told = sorted(_walk((), _told(before), _told(after)), key=lambda change: _rank(change[0]))
    return tuple(Difference(_named(path), old, new) for path, old, new in told)


def summary(changes: tuple[Difference, ...], most: int = 3) -> str:
    """Name what changed in a few words, for a reason: `description, argument amount and 2 more`."""
    names = list(dict.fromkeys(change.what for change in changes))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


Path = tuple[str, ...]
Change = tuple[Path, str | None, str | None]

_FIRST = ("name", "title", "description", "annotations", "inputSchema", "outputSchema")


def _told(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in definition.items() if name != "_meta"}


def _walk(path: Path, before: Any, after: Any) -> Iterator[Change]:
    if _canonical(before) == _canonical(after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _member((*path, name), before, after)
    elif path[-1:] == ("required",) and isinstance(before, list) and isinstance(after, list):
        yield from _required(path, before, after)
    else:
        yield path, _shown(before), _shown(after)


def _canonical(value: Any) -> bytes:
    """The form that digests are made of, where there is one: 1 and 1.0 are the same there, 1 and true are not."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError):
        return repr(value).encode("utf-8", "backslashreplace")


def _member(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    name = path[-1]
    if name not in before:
        yield path, None, _shown(after[name])
    elif name not in after:
        yield path, _shown(before[name]), None
    else:
        yield from _walk(path, before[name], after[name])


def _required(path: Path, before: list[Any], after: list[Any]) -> Iterator[Change]:
    words = ("optional", "required")
    for name in dict.fromkeys(str(name) for name in (*before, *after)):
        if (name in before) != (name in after):
            yield (*path[:-1], "properties", name), words[name in before], words[name in after]
    if set(map(str, before)) == set(map(str, after)):
        yield path, _shown(before), _shown(after)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return clipped(visible(text), WIDTH)


def _named(path: Path) -> str:
    """Return a path in words: `argument amount, maximum` instead of inputSchema.properties.amount.maximum."""
    match path:
        case ("annotations", claim, *rest):
            return _joined(f"claim {_shown(claim)}", rest)
        case ("inputSchema", "properties", argument, *rest):
            return _joined(f"argument {_shown(argument)}", rest)
        case ("outputSchema", "properties", member, *rest):
            return _joined(f"result's {_shown(member)}", rest)
        case ("inputSchema", *rest):
            return _joined("arguments", rest)
        case ("outputSchema", *rest):
            return _joined("result", rest)
        case _:
            return ".".join(map(_shown, path)) or "definition"


def _joined(start: str, rest: list[str]) -> str:
    return ", ".join((start, ".".join(_shown(name) for name in rest if name != "properties"))) if rest else start


def _rank(path: Path) -> tuple[int, Path]:
    return (_FIRST.index(path[0]) if path and path[0] in _FIRST else len(_FIRST)), path


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
