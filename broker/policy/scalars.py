"""Shapes of single YAML values: text, numbers, flags, choices, durations, days, moments."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from broker.policy.nodes import Node
from broker.policy.sheet import BAD, Sheet, nearest, said


class Text(msgspec.Struct, frozen=True):
    """A text; `pattern` is for the whole of it."""

    what: str = "a text"
    pattern: str = r"(?s).+"
    mend: str = ""

    def read(self, node: Node, sheet: Sheet) -> Any:
        if isinstance(node.value, str) and re.fullmatch(self.pattern, node.value):
            return node.value
        mend = self.mend or ("put it in quotes" if isinstance(node.value, (bool, int, float)) else f"write {self.what}")
        return sheet.wrong(node.place, f"{said(node.value)} is not {self.what}", mend)

    def schema(self) -> dict[str, Any]:
        plain = {} if self.pattern.startswith("(?s)") else {"pattern": f"^(?:{self.pattern})$"}
        return {"type": "string", **plain}


class Flag(msgspec.Struct, frozen=True):
    what: str = "true or false"

    def read(self, node: Node, sheet: Sheet) -> Any:
        if isinstance(node.value, bool):
            return node.value
        return sheet.wrong(node.place, f"{said(node.value)} is neither true nor false", "write true or false")

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Number(msgspec.Struct, frozen=True):
    least: float = -(2**53 - 1)
    most: float = 2**53 - 1
    whole: bool = False

    @property
    def what(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return kind if self.most == 2**53 - 1 else f"{kind} from {self.least:g} to {self.most:g}"

    def read(self, node: Node, sheet: Sheet) -> Any:
        value = node.value
        fits = isinstance(value, int) or (isinstance(value, float) and not self.whole and math.isfinite(value))
        if fits and not isinstance(value, bool) and self.least <= value <= self.most:
            return value
        return sheet.wrong(node.place, f"{said(value)} is not {self.what}", f"write {self.what}, without quotes")

    def schema(self) -> dict[str, Any]:
        return {"type": "integer" if self.whole else "number", "minimum": self.least, "maximum": self.most}


class Choice(msgspec.Struct, frozen=True):
    words: tuple[str, ...]

    @property
    def what(self) -> str:
        return "one of " + ", ".join(self.words)

    def read(self, node: Node, sheet: Sheet) -> Any:
        if node.value in self.words:
            return node.value
        return sheet.wrong(node.place, f"{said(node.value)} is not {self.what}", nearest(str(node.value), self.words))

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(msgspec.Struct, frozen=True):
    what: str = "a duration such as 30s, 15m, 2h or 7d"

    def read(self, node: Node, sheet: Sheet) -> Any:
        if isinstance(node.value, str) and re.fullmatch(r"[1-9][0-9]{0,5}[smhd]", node.value):
            return timedelta(seconds=int(node.value[:-1]) * _SPANS[node.value[-1]])
        return sheet.wrong(node.place, f"{said(node.value)} is no duration", "write a number with its unit: 30s, 15m, 2h or 7d")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[1-9][0-9]{0,5}[smhd]$"}


class Day(msgspec.Struct, frozen=True):
    what: str = "a day such as 2027-03-31"

    def read(self, node: Node, sheet: Sheet) -> Any:
        try:
            return date.fromisoformat(node.value if re.fullmatch(r"\d{4}-\d\d-\d\d", str(node.value)) else "")
        except (ValueError, TypeError):
            return sheet.wrong(node.place, f"{said(node.value)} is no day", "write year-month-day: 2027-03-31")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}


class Moment(msgspec.Struct, frozen=True):
    what: str = "a moment such as 2026-11-24T10:00:00Z"

    def read(self, node: Node, sheet: Sheet) -> Any:
        try:
            moment = datetime.fromisoformat(node.value if isinstance(node.value, str) else "")
        except ValueError:
            return sheet.wrong(node.place, f"{said(node.value)} is no moment", "write it with its zone: 2026-11-24T10:00:00Z")
        if moment.tzinfo is None:
            return sheet.wrong(node.place, f"{said(node.value)} has no time zone", "end it with Z or +01:00")
        return moment.astimezone(UTC)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


class Constant(msgspec.Struct, frozen=True):
    """A value for conditions: a number (read as double), a text, true or false, or a list of one of them, with its type."""

    what: str = "a number, a text, true or false, or a list of these"

    def read(self, node: Node, sheet: Sheet) -> Any:
        if isinstance(node.value, list):
            return self._list(node, sheet)
        value = self._one(node, sheet)
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def _one(self, node: Node, sheet: Sheet) -> Any:
        if isinstance(node.value, (str, bool)):
            return node.value
        if isinstance(node.value, (int, float)):
            return Number().read(node, sheet)
        return sheet.wrong(node.place, f"{said(node.value)} is not {self.what}", f"write {self.what}")

    def _list(self, node: Node, sheet: Sheet) -> Any:
        values = [self._one(child, sheet) for child in node.value]
        if any(value is BAD for value in values):
            return BAD
        kinds = {type(value) for value in values}
        if kinds == {int, float}:
            return tuple(float(value) for value in values)
        if len(kinds) == 1:
            return tuple(values)
        return sheet.wrong(node.place, "a list holds at least one value, all of one kind", "write only texts, or only numbers")

    def schema(self) -> dict[str, Any]:
        one = {"type": ["number", "string", "boolean"]}
        return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}
