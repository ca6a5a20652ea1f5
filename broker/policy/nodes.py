"""YAML files as nodes with positions: the strict subset that policy files are written in.

YAML 1.2 core scalars (`no` and `1:30` are text), one document, no anchors, aliases or tags, no duplicate keys, 20 levels.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec
import yaml

from broker.policy.model import Problem

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 20
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUES = frozenset(("true", "True", "TRUE"))
_FALSES = frozenset(("false", "False", "FALSE"))
_WHOLE = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class Place(msgspec.Struct, frozen=True):
    """Where something stands; both count from 1."""

    line: int
    column: int


class Node:
    """A value with its place: a scalar, `dict[str, Node]` or `list[Node]`. `keys` holds the places of a mapping's keys."""

    __slots__ = ("keys", "place", "style", "value")

    def __init__(self, value: Any, place: Place, style: str = "") -> None:
        self.value = value
        self.place = place
        self.style = style
        self.keys: dict[str, Place] = {}


class _Broken(Exception):
    """The file can't be read any further."""


class Document(msgspec.Struct, frozen=True):
    """One file as read. `root` is None where the file is empty or can't be read at all."""

    file: str
    lines: tuple[str, ...]
    root: Node | None
    problems: tuple[Problem, ...]

    def inside(self, node: Node, line: int, column: int) -> Place:
        """Return the place in the file of a place inside a scalar's text (both count from 1), as near as its style tells."""
        start = node.place
        if node.style in ("|", ">"):
            indent = self._indent(start.line)
            return Place(start.line + line, indent + column)
        if line > 1:
            return start
        return Place(start.line, start.column + column - 1 + (1 if node.style in ("'", '"') else 0))

    def _indent(self, line: int) -> int:
        """The indentation of the first line with text after `line`."""
        texts = (text for text in self.lines[line:] if text.strip())
        first = next(texts, "")
        return len(first) - len(first.lstrip(" "))


@lru_cache(maxsize=256)
def read(file: str, content: bytes) -> Document:
    """Read one file. Whatever is wrong is in `problems`; unchanged files come from a cache."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Document(file, (), None, (Problem(file, line, 1, "the file is not UTF-8", "save it as UTF-8"),))
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except _Broken:
        pass
    except yaml.YAMLError as error:
        builder.problems.append(_syntax(file, error))
    return Document(file, tuple(text.split("\n")), builder.root, tuple(builder.problems))


def _syntax(file: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    told = getattr(error, "problem", None) or getattr(error, "reason", None) or "the file is no YAML"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(file, line, column, f"YAML: {told}", "mend the indentation, quotes or brackets before this place")


class _Open:
    """A mapping or sequence that is being read."""

    __slots__ = ("key", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.key: str | None = None


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self._stack: list[_Open] = []

    def take(self, event: Any) -> None:
        match event:
            case yaml.AliasEvent():
                self._wrong(event, "aliases are not used in policy files", "write the value out")
                raise _Broken
            case yaml.ScalarEvent() | yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()
            case yaml.DocumentStartEvent() if self.root is not None:
                self._wrong(event, "a file holds one document", "move what follows `---` to a file of its own")
                raise _Broken
            case _:
                pass

    def _start(self, event: Any) -> None:
        self._plain(event)
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.node.value, dict) and top.key is None:
            self._key(event, top, place)
            return
        if isinstance(event, yaml.ScalarEvent):
            self._put(Node(self._scalar(event), place, event.style or ""), top)
            return
        node = Node({} if isinstance(event, yaml.MappingStartEvent) else [], place)
        self._put(node, top)
        self._stack.append(_Open(node))
        if len(self._stack) > _DEEPEST:
            self._wrong(event, f"nested deeper than {_DEEPEST} levels")
            raise _Broken

    def _plain(self, event: Any) -> None:
        if event.anchor:
            self._wrong(event, "anchors are not used in policy files", "write the value out")
        if event.tag and event.tag != "!":
            self._wrong(event, "tags are not used in policy files", "take the tag away")

    def _key(self, event: Any, top: _Open, place: Place) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            self._wrong(event, "a key is a plain text")
            raise _Broken
        if event.value in top.node.keys:
            first = top.node.keys[event.value].line
            self._wrong(event, f"the key `{event.value}` stands twice here", f"keep one of them; the first is in line {first}")
        top.key = event.value
        top.node.keys[event.value] = place

    def _put(self, node: Node, top: _Open | None) -> None:
        if top is None:
            self.root = node
        elif top.key is None:
            top.node.value.append(node)
        else:
            top.node.value[top.key] = node
            top.key = None

    def _scalar(self, event: Any) -> Any:
        if event.style in ("'", '"', "|", ">"):
            return event.value
        return _core(event.value)

    def _wrong(self, event: Any, message: str, mend: str = "") -> None:
        mark = event.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, message, mend))


def _core(text: str) -> Any:
    """Resolve a plain scalar by the core schema (YAML 1.2.2, 10.3.2); `.inf` and `.nan` stay text."""
    if text in _NULLS:
        return None
    if text in _TRUES or text in _FALSES:
        return text in _TRUES
    if _WHOLE.fullmatch(text) and len(text) <= 40:
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text
