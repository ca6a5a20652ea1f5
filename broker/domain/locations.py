"""Places in a document: what the JSONPaths (RFC 9535) of a policy name, and the one normalized path of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jsonpath

# Whatever goes wrong with a path over a hostile document.
FAILURES = (jsonpath.JSONPathError, RecursionError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError)
_STRICT = jsonpath.JSONPathEnvironment(strict=True)
_TEXT = json.JSONEncoder(ensure_ascii=False).encode

Location = tuple[str | int, ...]


def path_of(location: Location) -> str:
    """Return the normalized path of a location (RFC 9535, section 2.7)."""
    return "$" + "".join(map(step, location))


def step(part: str | int) -> str:
    """Return what one part adds to the normalized path of what is around it."""
    return f"[{part}]" if isinstance(part, int) else f"[{_quoted(part)}]"


def _quoted(name: str) -> str:
    inner = _TEXT(name)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{inner}'"


def check_path(path: str) -> str:
    """Return what is wrong with a `redact` or `show` path, empty when nothing is."""
    try:
        compiled(path if path.startswith("$") else f"$.{path}")
    except FAILURES as error:
        return str(error).splitlines()[0]
    return ""


def found(document: dict[str, Any], paths: Sequence[str]) -> dict[Location, str] | None:
    """Return location -> path of everything that the paths name; None when one of them fails."""
    places: dict[Location, str] = {}
    try:
        for path in paths:
            places.update((node.parts, path) for node in compiled(path).finditer(document))
    except FAILURES:
        return None
    return places


@lru_cache(maxsize=1_024)
def compiled(path: str) -> jsonpath.CompoundJSONPath | jsonpath.JSONPath:
    """Return a path ready for use. Raises one of `FAILURES`."""
    return _STRICT.compile(path)
