"""JSON Schema made into functions: the vocabulary that tools use, checked fast and with bounded work.

What is not understood here raises `Unsupported` when the schema is compiled, and never passes by default. Semantics are those of
draft 2020-12; the keywords here mean the same since draft 6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from cel_expr_python import cel  # type: ignore[import-untyped]  # ships stubs without py.typed


class Unsupported(Exception):
    """The schema holds what is not understood here."""


class Unusable(Exception):
    """The schema can't be used for these arguments."""


class Miss(msgspec.Struct, frozen=True):
    """What does not fit: the keyword, and the path of the value from the inside out."""

    keyword: str
    path: tuple[str, ...] = ()

    def under(self, name: object) -> Miss:
        return Miss(self.keyword, (*self.path, str(name)))


class Steps:
    """What is left of the work that one check may do."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise Unusable("the arguments are too much work for the tool's input schema")


Check = Callable[[Any, Steps], Miss | None]

_RE2 = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING})
_SEARCH = _RE2.compile("text.matches(pattern)")
_ESCAPED_UNIT = re.compile(r"\\u([0-9a-fA-F]{4})")


def found(pattern: str, text: str) -> bool:
    """Search with RE2, linear in the text. Raises `Unusable` for patterns it does not have: look-around, back references."""
    value = _SEARCH.eval(_RE2.Activation({"text": text, "pattern": _ESCAPED_UNIT.sub(r"\\x{\1}", pattern)}))
    if value.type() != cel.Type.BOOL:
        raise Unusable("the tool's input schema has a pattern that can't be checked")
    return value.value() is True


def same(value: Any) -> bytes:
    """Bytes that are equal exactly for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    return msgspec.json.encode(_plain(value), order="deterministic")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": is_number,
    "integer": lambda value: is_number(value) and (isinstance(value, int) or value.is_integer()),
}


def type_check(wanted: Any) -> Check:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(kinds, list) or any(kind not in _TYPES for kind in kinds):
        raise Unsupported("type")
    tests, miss = [_TYPES[kind] for kind in kinds], Miss("type")
    if len(tests) == 1:
        (only,) = tests
        return lambda value, steps: None if only(value) else miss
    return lambda value, steps: None if any(test(value) for test in tests) else miss


def enum_check(wanted: Any) -> Check:
    if not isinstance(wanted, list):
        raise Unsupported("enum")
    known, miss = frozenset(map(same, wanted)), Miss("enum")
    return lambda value, steps: None if same(value) in known else miss


def const_check(wanted: Any) -> Check:
    known, miss = same(wanted), Miss("const")
    return lambda value, steps: None if same(value) == known else miss


def _bound(keyword: str, kind: Callable[[Any], bool], fits: Callable[[Any, Any], bool]) -> Callable[[Any], Check]:
    """A keyword with one number, for values of one kind."""

    def made(limit: Any) -> Check:
        if not is_number(limit):
            raise Unsupported(keyword)
        miss = Miss(keyword)
        return lambda value, steps: miss if kind(value) and not fits(value, limit) else None

    return made


def _multiple(value: Any, of: Any) -> bool:
    if of <= 0:
        raise Unusable("the tool's input schema can't be used")
    # Decimal arithmetic takes as long as the exponents are apart.
    if isinstance(value, int) and isinstance(of, int):
        return value % of == 0
    number, step = Decimal(repr(value)), Decimal(repr(of))
    if abs(number.adjusted() - step.adjusted()) > 25:
        raise Unusable("the arguments are too much work for the tool's input schema")
    return number % step == 0


def pattern_check(pattern: Any) -> Check:
    if not isinstance(pattern, str):
        raise Unsupported("pattern")
    miss = Miss("pattern")

    def check(value: Any, steps: Steps) -> Miss | None:
        if not isinstance(value, str):
            return None
        steps.take(20)
        return None if found(pattern, value) else miss

    return check


def required_check(wanted: Any) -> Check:
    if not isinstance(wanted, list) or any(not isinstance(name, str) for name in wanted):
        raise Unsupported("required")
    names, miss = tuple(wanted), Miss("required")
    return lambda value, steps: miss if isinstance(value, dict) and any(name not in value for name in names) else None


def unique_check(wanted: Any) -> Check:
    miss = Miss("uniqueItems")

    def check(value: Any, steps: Steps) -> Miss | None:
        if not wanted or not isinstance(value, list):
            return None
        steps.take(5 * len(value))
        return miss if len({same(item) for item in value}) < len(value) else None

    return check


SIMPLE: dict[str, Callable[[Any], Check]] = {
    "type": type_check,
    "enum": enum_check,
    "const": const_check,
    "minimum": _bound("minimum", is_number, lambda value, limit: value >= limit),
    "maximum": _bound("maximum", is_number, lambda value, limit: value <= limit),
    "exclusiveMinimum": _bound("exclusiveMinimum", is_number, lambda value, limit: value > limit),
    "exclusiveMaximum": _bound("exclusiveMaximum", is_number, lambda value, limit: value < limit),
    "multipleOf": _bound("multipleOf", is_number, _multiple),
    "minLength": _bound("minLength", _TYPES["string"], lambda value, limit: len(value) >= limit),
    "maxLength": _bound("maxLength", _TYPES["string"], lambda value, limit: len(value) <= limit),
    "minItems": _bound("minItems", _TYPES["array"], lambda value, limit: len(value) >= limit),
    "maxItems": _bound("maxItems", _TYPES["array"], lambda value, limit: len(value) <= limit),
    "minProperties": _bound("minProperties", _TYPES["object"], lambda value, limit: len(value) >= limit),
    "maxProperties": _bound("maxProperties", _TYPES["object"], lambda value, limit: len(value) <= limit),
    "pattern": pattern_check,
    "required": required_check,
    "uniqueItems": unique_check,
}
