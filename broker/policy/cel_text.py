"""CEL source as tokens: enough to find names and operators outside of strings and comments. The grammar is CEL's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<raw>(?:[bB]?[rR]|[rR][bB])(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n]*"|'[^'\n]*'))
      | (?P<string>[bB]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
      | (?P<quoted>`[^`\n]*`)
      | (?P<number>(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)[uU]?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>&&|\|\||==|!=|<=|>=|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def tokens(source: str) -> Iterator[Token]:
    """Every token but spaces and comments. Raw strings end at the first quote, whatever stands before it, as in CEL."""
    for found in _TOKEN.finditer(source):
        if found.lastgroup != "space":
            yield Token(found.lastgroup or "", found.group(), found.start())


class Chain(NamedTuple):
    """A name and its fields: `args.card.number` is ("args", "card", "number"). `optional`: `.?` or has() guards it."""

    names: tuple[str, ...]
    start: int
    end: int
    optional: bool


def chains(source: str) -> list[Chain]:
    """The dotted names of a source, in order, method calls included as their last name only where no `(` follows."""
    found = list(tokens(source))
    result: list[Chain] = []
    at = 0
    while at < len(found):
        after_dot = at > 0 and found[at - 1].text in (".", "?")
        if found[at].kind != "name" or after_dot:
            at += 1
            continue
        chain, at = _chain(found, at)
        result.append(chain)
    return result


def _chain(found: list[Token], at: int) -> tuple[Chain, int]:
    names, optional, first = [found[at].text], _in_has(found, at), found[at]
    last = first
    at += 1
    while at + 1 < len(found) and found[at].text == ".":
        step = 2 if found[at + 1].text == "?" else 1
        if at + step >= len(found) or found[at + step].kind != "name":
            break
        if at + step + 1 < len(found) and found[at + step + 1].text == "(":
            break
        optional = optional or step == 2
        last = found[at + step]
        names.append(last.text)
        at += step + 1
    return Chain(tuple(names), first.start, last.end, optional), at


def _in_has(found: list[Token], at: int) -> bool:
    return at >= 2 and found[at - 1].text == "(" and found[at - 2].text == "has"


def demanded(source: str) -> frozenset[str]:
    """The arguments without which a condition says no, whatever else stands in it: each `has(args.x)` between its topmost `&&`.

    A no on one side of `&&` is the answer, also where the other side can't be told (CEL, logical operators).
    """
    depth, parts = 0, [list[Token]()]
    for token in tokens(source):
        if depth == 0 and token.text in ("||", "?"):
            return frozenset()
        if depth == 0 and token.text == "&&":
            parts.append([])
            continue
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        parts[-1].append(token)
    return frozenset(part[4].text for part in parts if _is_has(part))


def _is_has(part: list[Token]) -> bool:
    return len(part) == 6 and "".join(token.text for token in part) == f"has(args.{part[4].text})" and part[4].kind == "name"
