"""Shapes of YAML mappings and lists: one description reads a node, names each mistake with its place and mend,
and gives the JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.policy.nodes import Node, Place
from broker.policy.sheet import BAD, Shape, Sheet, nearest, said


class Read(msgspec.Struct, frozen=True):
    """A mapping as read: the values of its good keys, and where each stands."""

    values: dict[str, Any]
    node: Node

    def get(self, key: str, otherwise: Any = None) -> Any:
        return self.values.get(key, otherwise)

    def at(self, key: str) -> Place:
        """The place of a key's value, or of the mapping where the key is missing."""
        child = self.node.value.get(key)
        return child.place if child is not None else self.node.place


class Anything(msgspec.Struct, frozen=True):
    """Any YAML value, as plain data: arguments of a test."""

    what: str = "any value"

    def read(self, node: Node, sheet: Sheet) -> Any:
        match node.value:
            case dict():
                return {key: self.read(child, sheet) for key, child in node.value.items()}
            case list():
                return [self.read(child, sheet) for child in node.value]
            case _:
                return node.value

    def schema(self) -> dict[str, Any]:
        return {}


class Many(msgspec.Struct, frozen=True):
    """A list; `or_one` lets a single item stand without brackets. Reads as a tuple of the good items."""

    item: Shape
    or_one: bool = False
    may_be_empty: bool = False

    @property
    def what(self) -> str:
        return f"a list ({self.item.what})"

    def read(self, node: Node, sheet: Sheet) -> Any:
        if not isinstance(node.value, list):
            if self.or_one and not isinstance(node.value, dict):
                one = self.item.read(node, sheet)
                return BAD if one is BAD else (one,)
            return sheet.wrong(node.place, f"{said(node.value)} is not {self.what}", "write it as [one, two]")
        if not node.value and not self.may_be_empty:
            return sheet.wrong(node.place, "the list is empty", f"write at least one: {self.item.what}")
        return tuple(item for child in node.value if (item := self.item.read(child, sheet)) is not BAD)

    def schema(self) -> dict[str, Any]:
        least = {} if self.may_be_empty else {"minItems": 1}
        many = {"type": "array", "items": self.item.schema(), **least}
        return {"anyOf": [self.item.schema(), many]} if self.or_one else many


class Table(msgspec.Struct, frozen=True):
    """A mapping from names of the writer's choice. Reads as a dict of the good entries."""

    item: Shape
    key: str = r"[A-Za-z_][A-Za-z0-9_]*"
    key_what: str = "a name of letters, digits and _"

    @property
    def what(self) -> str:
        return f"a mapping of names to {self.item.what}"

    def read(self, node: Node, sheet: Sheet) -> Any:
        if not isinstance(node.value, dict):
            return sheet.wrong(node.place, f"{said(node.value)} is not {self.what}", "write it as `name: value`")
        values = {}
        for name, child in node.value.items():
            if not re.fullmatch(self.key, name):
                sheet.wrong(node.keys[name], f"`{name[:60]}` is not {self.key_what}", f"write {self.key_what}")
            elif (value := self.item.read(child, sheet)) is not BAD:
                values[name] = value
        return Read(values, node)

    def schema(self) -> dict[str, Any]:
        names = {"pattern": f"^(?:{self.key})$"}
        return {"type": "object", "propertyNames": names, "additionalProperties": self.item.schema()}


class Field(msgspec.Struct, frozen=True):
    shape: Shape
    told: str
    needed: bool = False


class Record(msgspec.Struct, frozen=True):
    """A mapping with known keys. Reads as `Read`; a needed key that is missing or wrong makes it BAD, unless `partly`."""

    what: str
    fields: Mapping[str, Field]
    partly: bool = False

    def read(self, node: Node, sheet: Sheet) -> Any:
        if not isinstance(node.value, dict):
            return sheet.wrong(node.place, f"{said(node.value)} is not {self.what}", f"write a mapping with {self._keys()}")
        values = {}
        for key, child in node.value.items():
            if key not in self.fields:
                sheet.wrong(node.keys[key], f"`{key[:60]}` is no key of {self.what}", nearest(key, self.fields))
            elif (value := self.fields[key].shape.read(child, sheet)) is not BAD:
                values[key] = value
        missing = [key for key, field in self.fields.items() if field.needed and key not in node.value]
        for key in missing:
            sheet.wrong(node.place, f"{self.what} lacks `{key}`", f"add `{key}`: {self.fields[key].shape.what}")
        broken = [key for key in node.value if key in self.fields and self.fields[key].needed and key not in values]
        return BAD if (missing or broken) and not self.partly else Read(values, node)

    def _keys(self) -> str:
        return ", ".join(f"`{key}`" for key in self.fields)

    def schema(self) -> dict[str, Any]:
        fields = {key: {**field.shape.schema(), "description": field.told} for key, field in self.fields.items()}
        needed = [key for key, field in self.fields.items() if field.needed]
        return {"type": "object", "properties": fields, "required": needed, "additionalProperties": False}


class Either(msgspec.Struct, frozen=True):
    """One shape for mappings, another for everything else."""

    mapping: Shape
    other: Shape

    @property
    def what(self) -> str:
        return f"{self.other.what} or {self.mapping.what}"

    def read(self, node: Node, sheet: Sheet) -> Any:
        return (self.mapping if isinstance(node.value, dict) else self.other).read(node, sheet)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.other.schema(), self.mapping.schema()]}
