"""Conditions as files write them: snippets put in, compiled, and every mistake at its place in the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from broker.policy.cel_text import chains, demanded
from broker.policy.conditions import Mistake, Vocabulary, compiled
from broker.policy.nodes import Node
from broker.policy.rules import Condition
from broker.policy.sheet import BAD, Sheet


def with_snippets(text: str, snippets: Mapping[str, str]) -> str:
    """Return a text with its snippets written out; those that don't exist stay as they are."""
    return _expanded(text, snippets).source


def _expanded(text: str, snippets: Mapping[str, str]) -> _Expanded:
    expanded = _Expanded(text)
    for chain in chains(text):
        if chain.names[0] == "lib" and len(chain.names) > 1 and chain.names[1] in snippets:
            expanded.replace(chain.start, chain.start + len("lib.") + len(chain.names[1]), snippets[chain.names[1]])
    return expanded


class Writer:
    """Compiles the conditions of one policy. `snippets` are the texts of `lib`, `known` all its names, wrong ones too."""

    def __init__(self, vocabulary: Vocabulary, snippets: dict[str, str], known: frozenset[str]) -> None:
        self._vocabulary = vocabulary
        self._snippets = snippets
        self._known = known
        self._broken = set(known - snippets.keys())

    def condition(self, text: str, node: Node, sheet: Sheet) -> Any:
        """Return the `Condition`, or BAD with its mistakes on the sheet. A broken snippet is told at its own place alone."""
        used = [chain for chain in chains(text) if chain.names[0] == "lib"] if "lib" in text else []
        for chain in used:
            if len(chain.names) == 1 or chain.names[1] not in self._known:
                place = sheet.document.inside(node, *_line_and_column(text, chain.start))
                return sheet.wrong(place, f"there is no snippet `{'.'.join(chain.names[:2])}`", "define it under `lib`")
        if any(chain.names[1] in self._broken for chain in used):
            return BAD
        return self._made(text, _expanded(text, self._snippets) if used else _Expanded(text), node, sheet)

    def snippet(self, name: str, node: Node, sheet: Sheet) -> Any:
        """Check a snippet alone: of any type, and without other snippets. Return a `Condition` or BAD."""
        text = self._snippets[name]
        if any(chain.names[0] == "lib" for chain in chains(text)):
            made = sheet.wrong(node.place, "a snippet uses no other snippet", "write the other one out")
        else:
            made = self._made(text, _Expanded(text), node, sheet, boolean=False)
        if made is BAD:
            self._broken.add(name)
        return made

    def _made(self, text: str, expanded: _Expanded, node: Node, sheet: Sheet, *, boolean: bool = True) -> Any:
        program = compiled(self._vocabulary, expanded.source, boolean)
        if isinstance(program, tuple):
            for mistake in program:
                self._report(mistake, text, expanded, node, sheet)
            return BAD
        place = node.place
        needed = demanded(expanded.source)
        return Condition(text, expanded.source, program, sheet.document.file, place.line, place.column, needed)

    def _report(self, mistake: Mistake, text: str, expanded: _Expanded, node: Node, sheet: Sheet) -> None:
        line, column = _line_and_column(text, expanded.origin(mistake.line, mistake.column))
        sheet.wrong(sheet.document.inside(node, line, column), mistake.message, mistake.mend)


class _Expanded:
    """A source whose parts come from a text, and the way back from its places to the text's."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._origins: list[tuple[int, bool]] = []
        self._done = 0

    def replace(self, start: int, end: int, snippet: str) -> None:
        self._add(self._text[self._done : start], self._done, True)
        # The line break ends a comment that the snippet may close with.
        self._add(f"({snippet}\n)", start, False)
        self._done = end

    @property
    def source(self) -> str:
        return "".join(self._pieces) + self._text[self._done :]

    def origin(self, line: int, column: int) -> int:
        """Return the offset in the text of a line and column of the source."""
        lines = self.source.split("\n")
        offset = sum(len(text) + 1 for text in lines[: line - 1]) + column - 1
        starts = [*self._starts, sum(map(len, self._pieces))]
        origins = [*self._origins, (self._done, True)]
        piece = max(bisect_right(starts, offset) - 1, 0)
        start, verbatim = origins[piece]
        return start + (offset - starts[piece] if verbatim else 0)

    def _add(self, piece: str, origin: int, verbatim: bool) -> None:
        self._starts.append(sum(map(len, self._pieces)))
        self._origins.append((origin, verbatim))
        self._pieces.append(piece)


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
