"""CEL conditions: the typed environment, compilation with places, and one careful way to ask.

The engine returns errors as values whose `.value()` is a truthy text: only `ask` may read an answer.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

import msgspec
from cel_expr_python import cel  # type: ignore[import-untyped]  # ships stubs without py.typed
from cel_expr_python.ext import ext_math, ext_optional, ext_strings  # type: ignore[import-untyped]  # as above

from broker.policy import functions
from broker.policy.cel_text import tokens
from broker.policy.sheet import likely

_T = cel.Type
_LONGEST = 20_000
_PLACE = re.compile(r"<input>:(\d+):(\d+): (.*)")

VARIABLES: Mapping[str, cel.Type] = {
    "args": _T.Map(_T.STRING, _T.DYN),
    "caller.user": _T.STRING,
    "caller.workload": _T.STRING,
    "caller.groups": _T.List(_T.STRING),
    "caller.surface": _T.STRING,
    "caller.conversation": _T.STRING,
    "client.name": _T.STRING,
    "client.version": _T.STRING,
    "server.name": _T.STRING,
    "server.trust": _T.STRING,
    "tool.name": _T.STRING,
    "tool.known": _T.BOOL,
    "tool.read_only": _T.BOOL,
    "tool.destructive": _T.BOOL,
    "tool.idempotent": _T.BOOL,
    "tool.open_world": _T.BOOL,
    "env": _T.STRING,
    "now": _T.TIMESTAMP,
}


def _sql_kinds(sql: str) -> list[str]:
    from broker.policy.sql import sql_kinds  # noqa: PLC0415 - its parser takes 160 ms, which only policies with SQL pay

    return sql_kinds(sql)


_FUNCTIONS = (
    ("email_domain", _T.STRING, (_T.STRING,), functions.email_domain),
    ("path_within", _T.BOOL, (_T.STRING, _T.STRING), functions.path_within),
    ("host", _T.STRING, (_T.STRING,), functions.host),
    ("cidr_contains", _T.BOOL, (_T.STRING, _T.STRING), functions.cidr_contains),
    ("sql_kinds", _T.List(_T.STRING), (_T.STRING,), _sql_kinds),
)


class Answer(Enum):
    NO = "no"
    YES = "yes"
    ERROR = "error"


class Mistake(msgspec.Struct, frozen=True):
    """What is wrong with a condition, at a line and column of its source, both counted from 1."""

    line: int
    column: int
    message: str
    mend: str = ""


class Vocabulary(msgspec.Struct, frozen=True):
    """The types of a policy's own names: constants by type word, its counters, and arguments whose type a schema tells."""

    consts: tuple[tuple[str, str], ...] = ()
    counters: tuple[str, ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()


_WORDS = {"bool": _T.BOOL, "int": _T.INT, "float": _T.DOUBLE, "str": _T.STRING, "any": _T.DYN}
_WORDS |= {"list": _T.List(_T.DYN), "map": _T.Map(_T.STRING, _T.DYN)}


def type_word(value: Any) -> str:
    """The type of a constant as a word: `float`, or `[str]` for a list."""
    return f"[{type(value[0]).__name__}]" if isinstance(value, tuple) else type(value).__name__


def _type(word: str) -> cel.Type:
    return _T.List(_WORDS[word[1:-1]]) if word.startswith("[") else _WORDS[word]


@lru_cache(maxsize=32)
def environment(vocabulary: Vocabulary) -> cel.Env:
    """Return the CEL environment for a policy with these names."""
    own = {f"consts.{name}": _type(word) for name, word in vocabulary.consts}
    sums = {f"counters.{name}": _T.DOUBLE for name in vocabulary.counters}
    told = {name: _type(word) for name, word in vocabulary.arguments}
    declared = [
        cel.FunctionDecl(name, [cel.Overload(name, return_type=result, parameters=list(takes), impl=call)])
        for name, result, takes, call in _FUNCTIONS
    ]
    extensions = [ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_math.ExtMath()]
    return cel.NewEnv(variables={**VARIABLES, **own, **sums, **told}, functions=declared, extensions=extensions)


@lru_cache(maxsize=16_384)
def compiled(vocabulary: Vocabulary, source: str, boolean: bool = True) -> Any:
    """Return the program of `source`, or a tuple of `Mistake`. Unchanged conditions come from a cache."""
    if len(source) > _LONGEST:
        return (Mistake(1, 1, "the condition is too long", "split it, or make it shorter"),)
    try:
        program = environment(vocabulary).compile(source)
        if "sql_kinds" in source:
            importlib.import_module("broker.policy.sql")
    except Exception as error:  # the engine raises RuntimeError for any mistake, and other types for odd text
        return _mistakes(str(error), vocabulary)
    if boolean and program.return_type() != _T.BOOL:
        kind = program.return_type().name().lower()
        return (Mistake(1, 1, f"a condition is true or false, this is {kind}", "compare it with something, e.g. `== true`"),)
    return _bad_literals(vocabulary, source) or program


@lru_cache(maxsize=4_096)
def either(vocabulary: Vocabulary, sources: tuple[str, ...]) -> Any:
    """Return one program that says no exactly where each of these conditions, which compile, does; None where they are too long.

    An error of one of them is its answer only where none is a yes (CEL, logical operators): so it is never a no.
    """
    source = " || ".join(f"({source}\n)" for source in sources)  # a comment ends with its line
    try:
        return environment(vocabulary).compile(source) if len(source) <= _LONGEST else None
    except Exception:  # whatever the engine says to so many together: they are asked one by one
        return None


@lru_cache(maxsize=1)
def zone_data() -> bool:
    """Does this machine know time zones? Without them, conditions that name one fail."""
    engine = environment(Vocabulary())
    program = engine.compile("timestamp('2026-07-01T00:00:00Z').getHours('Europe/Berlin') == 2")
    return ask(program, engine.Activation({}))[0] is Answer.YES


def _mistakes(told: str, vocabulary: Vocabulary) -> tuple[Mistake, ...]:
    places = _PLACE.findall(told)
    found = [
        Mistake(int(line), int(column), f"CEL: {message[:300]}", _mend(message, vocabulary)) for line, column, message in places
    ]
    return tuple(found) or (Mistake(1, 1, f"CEL: {told.splitlines()[0][:300]}"),)


_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")


def _mend(message: str, vocabulary: Vocabulary) -> str:
    if "(double, int)" in message or "(int, double)" in message:
        return "constants and counters are doubles: write 100.0 instead of 100"
    if "identifier: const" in message:
        return "write consts.NAME"
    if (unknown := _UNDECLARED.search(message)) is not None:
        own = [f"consts.{name}" for name, _ in vocabulary.consts] + [f"counters.{name}" for name in vocabulary.counters]
        if guess := likely(unknown.group(1), (*VARIABLES, *own, *(name for name, *_ in _FUNCTIONS))):
            return guess
        return "names are args.*, caller.*, client.*, server.*, tool.*, env, now, consts.*, counters.*, lib.*"
    if "no matching overload" in message:
        return "compare and add like to like; double(args.x) makes a number for arithmetic"
    return "see the CEL language: strings in quotes, && || ! for and, or, not"


def _bad_literals(vocabulary: Vocabulary, source: str) -> tuple[Mistake, ...]:
    """Patterns that stand in the text are tried at once: the engine would look at them only when asked."""
    found = list(tokens(source))
    bad = []
    for before, name, bracket, text, after in zip(found, found[1:], found[2:], found[3:], found[4:], strict=False):
        if (before.text, name.text, bracket.text, after.text) == (".", "matches", "(", ")") and text.kind in ("string", "raw"):
            answer, told = ask(
                environment(vocabulary).compile(f"'x'.matches({text.text})"), environment(vocabulary).Activation({})
            )
            if answer is Answer.ERROR:
                line = source.count("\n", 0, text.start) + 1
                column = text.start - source.rfind("\n", 0, text.start)
                bad.append(Mistake(line, column, f"CEL: {told}", "write the pattern in RE2 syntax"))
    return tuple(bad)


def ask(program: Any, activation: Any) -> tuple[Answer, str]:
    """Return the answer, and why it is an error. True is the only yes, false the only no; all else is an error."""
    try:
        value = program.eval(activation)
        told = value.value()
        if told is True or told is False:
            return (Answer.YES if told else Answer.NO), ""
        return Answer.ERROR, _told(str(told)) if value.type() == _T.ERROR else "the answer is neither true nor false"
    except Exception as error:  # whatever the engine raises is an error of the condition, never an answer
        return Answer.ERROR, _told(str(error))


_OVERLOAD = re.compile(r"No matching overloads found : ([\w<>=!&|+*/%?@\[\]-]+)(?:\(([\w, ]*)\))?")
_SAFE = re.compile(
    r"cannot convert \w+ to \w+|Invalid timezone"
    r"|String to \w+ conversion failed|Index error: index=-?\d+ size=\d+"
    r"|divide by zero|integer overflow|double out of int range|this is no [\w &-]+|the [\w ,.~&'-]+"
)


def _told(message: str) -> str:
    """The engine's words without anything of the arguments: keys and patterns can come from them."""
    text = message.partition(": ")[2] or message
    overload = _OVERLOAD.match(text)
    if overload is not None:
        return f"`{overload.group(1).strip('_')}` does not take {overload.group(2) or 'this'}"
    if "Key not found" in text:
        return "a key is missing in the arguments"
    if "found in Activation" in text:
        return f"a {'counter' if 'counters.' in text else 'value'} is not known for this call"
    if "regular expression" in text:
        return "the regular expression is wrong"
    found = _SAFE.match(text)
    return found.group() if found else "the condition could not be evaluated"
