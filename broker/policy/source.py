"""The text of a rule in its file, the file with another text in its place, and the change as a patch. Pure.

Positions come from the same reader that loads the files, so what is cut out is what is in force.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import msgspec

from broker.policy import nodes
from broker.policy.nodes import Document, Node


class Excerpt(msgspec.Struct, frozen=True):
    """One item of a list, as it is written: lines `first` to `last` of `file`, both counted from 1."""

    file: str
    first: int
    last: int
    text: str


def rule_text(contents: Mapping[str, bytes], rule: str) -> Excerpt | None:
    """Return where a rule is written; None where no file has it, or it shares its lines with another."""
    for file, content in sorted(contents.items()):
        document = nodes.read(file, content)
        items = _items(document, "rules")
        for index, item in enumerate(items):
            if isinstance(item.value, dict) and "id" in item.value and item.value["id"].value == rule:
                return excerpt(document, items, index)
    return None


def excerpt(document: Document, items: list[Node], index: int) -> Excerpt | None:
    """Return one item of a list with its dash, without the comments and empty lines that follow it."""
    first = items[index].place.line
    line = document.lines[first - 1]
    if not line.lstrip(" ").startswith("- "):
        return None
    if index + 1 < len(items):
        end = items[index + 1].place.line - 1
    else:
        end = _end(document.lines, first, len(line) - len(line.lstrip(" ")))
    while end > first and _idle(document.lines[end - 1]):
        end -= 1
    if end < first:
        return None
    return Excerpt(document.file, first, end, plain("\n".join(document.lines[first - 1 : end])))


def cases_of(document: Document) -> list[Node]:
    """Return the cases of a test file."""
    return _items(document, "cases")


def spliced(content: bytes, at: Excerpt, text: str) -> bytes:
    """Return a file with `text` in the place of an excerpt. Line breaks become those of the file."""
    lines, ends = content.decode().split("\n"), "\r" if b"\r\n" in content else ""
    return "\n".join([*lines[: at.first - 1], *(line + ends for line in plain(text).split("\n")), *lines[at.last :]]).encode()


def plain(text: str) -> str:
    """Return a text as forms send it with plain line breaks, and none at its end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n ")


def patch(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str:
    """Return the change between two folders as a unified diff, as `git apply` and `patch -p1` take it."""
    return "".join(line for file in sorted({*before, *after}) for line in _diff(file, before.get(file), after.get(file)))


def _diff(file: str, before: bytes | None, after: bytes | None) -> Iterator[str]:
    old, new = (_lines(content) for content in (before, after))
    names = f"a/{file}" if before is not None else "/dev/null", f"b/{file}" if after is not None else "/dev/null"
    for line in difflib.unified_diff(old, new, *names):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(content: bytes | None) -> list[str]:
    """The lines with their breaks: only `\\n` breaks one, whatever else Python would take for a break."""
    texts = (content or b"").decode().split("\n")
    return [f"{text}\n" for text in texts[:-1]] + [text for text in texts[-1:] if text]


def _items(document: Document, key: str) -> list[Node]:
    root = document.root
    found = root.value.get(key) if root is not None and isinstance(root.value, dict) else None
    return found.value if found is not None and isinstance(found.value, list) else []


def _end(lines: tuple[str, ...], first: int, indent: int) -> int:
    """The last line before one that is written no deeper than the list's dashes."""
    for number in range(first, len(lines)):
        line = lines[number]
        if not _idle(line) and len(line) - len(line.lstrip(" ")) <= indent:
            return number
    return len(lines)


def _idle(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
