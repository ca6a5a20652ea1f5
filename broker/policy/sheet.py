"""What reading a file needs: the sheet of problems, the shape protocol, and the words of a mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final, Protocol

from broker.domain.text import clipped
from broker.policy.model import Problem
from broker.policy.nodes import Document, Node, Place


class Sheet:
    """What is being read: the document, and the problems found so far."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = list(document.problems)

    def wrong(self, place: Place, message: str, mend: str = "") -> Bad:
        self.problems.append(Problem(self.document.file, place.line, place.column, clipped(message, 600), mend))
        return BAD


class Bad:
    """What a mistaken node reads as: its problem is on the sheet."""


BAD: Final = Bad()


class Shape(Protocol):
    @property
    def what(self) -> str: ...

    def read(self, node: Node, sheet: Sheet) -> Any:
        """Return the value, or BAD with the problem on the sheet."""
        ...

    def schema(self) -> dict[str, Any]: ...


def said(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"`{value[:60]}`"
        case _:
            return f"{value}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The mend for a mistyped word: the nearest known one, else all of them."""
    words = list(known)
    return likely(word, words) or "write one of " + ", ".join(f"`{name}`" for name in words)


def likely(word: str, known: Iterable[str]) -> str:
    """The mend for a word that is close to a known one, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean `{close[0]}`?" if close else ""
