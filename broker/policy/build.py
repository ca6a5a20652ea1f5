"""From files as read to one rule set: every name defined once, every reference checked, every condition compiled."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from broker.domain.decisions import Effect
from broker.domain.people import People
from broker.domain.servers import mixed_up
from broker.policy import directory
from broker.policy.build_rules import RuleBuilder, approval
from broker.policy.build_rules import match as match_of
from broker.policy.conditions import Vocabulary, environment, type_word
from broker.policy.nodes import Node, Place
from broker.policy.rules import Counter, Defaults, Match, Rule
from broker.policy.ruleset import RuleSet, index, screens
from broker.policy.shapes import Read
from broker.policy.sheet import BAD, Sheet
from broker.policy.writing import Writer

Files = list[tuple[Sheet, Read]]


class Built(msgspec.Struct, frozen=True):
    people: People
    servers: dict[str, Any]
    rules: RuleSet


class _Entry(msgspec.Struct, frozen=True, eq=False):
    """One entry of a table: its value as read, its node, the table and the sheet it stands on."""

    value: Any
    table: Read
    sheet: Sheet
    name: str

    @property
    def node(self) -> Node:
        node: Node = self.table.node.value[self.name]
        return node


def build(files: Files, environment_name: str) -> Built | None:
    """Return everything, or None where something is wrong: it is on the sheets then."""
    consts = {name: entry.value for name, entry in _once(files, "consts").items()}
    counters = {name: _counter(name, entry.value) for name, entry in _once(files, "counters").items()}
    types = {**dict.fromkeys(written(files, "consts"), "any"), **{name: type_word(value) for name, value in consts.items()}}
    vocabulary = Vocabulary(tuple(sorted(types.items())), tuple(sorted(written(files, "counters"))))
    lib = _once(files, "lib")
    writer = Writer(vocabulary, {name: entry.value for name, entry in lib.items()}, written(files, "lib"))
    snippets = {name: writer.snippet(name, entry.node, entry.sheet) for name, entry in lib.items()}
    defaults = _defaults(files)
    ids = frozenset(read.get("id") for _, read in _entries(files, "rules") if "id" in read.values)
    builder = RuleBuilder(writer, defaults, written(files, "counters"), ids)
    rules, exemptions = builder.exempted(_rules(files, builder), _entries(files, "exceptions"))
    people, servers = _people(files), _servers(files)
    if any(sheet.problems for sheet, _ in files):
        return None
    made = RuleSet(
        rules=rules, defaults=defaults, consts=consts, counters=counters, exemptions=exemptions, snippets=snippets,
        environment=environment_name, places=_places(files), vocabulary=vocabulary,
        engine=environment(vocabulary), candidates=index(rules, counters), screens=screens(rules, vocabulary),
    )  # fmt: skip
    return Built(people, servers, made)


def _places(files: Files) -> dict[str, tuple[str, int]]:
    """Where the names of tables stand: `file:line`, and the column."""
    found: dict[str, tuple[str, int]] = {}
    for sheet, read in files:
        if read.get("defaults"):
            found["defaults"] = _spot(sheet, read.node.keys["defaults"])
    for section in ("consts", "counters", "lib", "groups", "people"):
        for sheet, read in files:
            table = read.get(section)
            for name in table.values if table is not None else ():
                found.setdefault(f"{section}.{name}", _spot(sheet, table.node.keys[name]))
    return found


def _spot(sheet: Sheet, place: Place) -> tuple[str, int]:
    return f"{sheet.document.file}:{place.line}", place.column


def written(files: Files, section: str) -> frozenset[str]:
    """The names of a table, those of wrong entries too: rules that use them are not told so again."""
    return frozenset(name for _, read in files if read.get(section) is not None for name in read.get(section).node.value)


def _entries(files: Files, section: str) -> list[tuple[Sheet, Read]]:
    return [(sheet, entry) for sheet, read in files for entry in read.get(section, ())]


def _once(files: Files, section: str) -> dict[str, _Entry]:
    """Return the entries of a table over all files; a second definition is a problem at its place."""
    found: dict[str, _Entry] = {}
    for sheet, read in files:
        table = read.get(section)
        for name in table.values if table is not None else ():
            entry = _Entry(table.values[name], table, sheet, name)
            first = found.setdefault(name, entry)
            if first is not entry:
                where = f"{first.sheet.document.file}:{first.table.node.keys[name].line}"
                sheet.wrong(table.node.keys[name], f"`{name}` is defined twice in {section}", f"keep one; the first is {where}")
    return found


def _defaults(files: Files) -> Defaults:
    written = [(sheet, read.get("defaults"), read) for sheet, read in files if read.get("defaults") is not None]
    for sheet, _, read in written[1:]:
        first = f"{written[0][0].document.file}:{written[0][2].node.keys['defaults'].line}"
        sheet.wrong(read.node.keys["defaults"], "`defaults` is defined twice", f"keep one; the first is {first}")
    if not written:
        return Defaults()
    sheet, read, _ = written[0]
    own = read.get("approval")
    asked = approval(own, None, own.node.place, sheet) if own is not None else None
    for key in ("unmatched", "unknown_tool"):
        if read.get(key) == "require_approval" and "approval" not in read.node.value:
            sheet.wrong(read.at(key), f"`{key}: require_approval` asks nobody", "add `approval` to `defaults`")
    return Defaults(
        unmatched=Effect(read.get("unmatched", "deny")),
        unknown_tool=Effect(read.get("unknown_tool", "deny")),
        approval=None if asked is BAD else asked,
        timezone=_timezone(read, sheet),
    )


def _timezone(read: Read, sheet: Sheet) -> str:
    name: str = read.get("timezone", "UTC")
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        sheet.wrong(read.at("timezone"), f"there is no time zone `{name}`", "write a name such as Europe/Berlin")
    return name


def _counter(name: str, read: Read) -> Counter:
    own = read.get("match")
    return Counter(
        name=name,
        window=read.get("window"),
        key=read.get("key", ("caller",)),
        match=match_of(own) if own is not None else Match(),
        sum=tuple(read.get("sum", "").split(".")[1:]),
        of=read.get("of", "all"),
    )


def _rules(files: Files, builder: RuleBuilder) -> tuple[Rule, ...]:
    made: list[Rule] = []
    first: dict[str, str] = {}
    for sheet, read in _entries(files, "rules"):
        rule, name = builder.rule(read, sheet), read.get("id")
        if name is not None and name in first:
            sheet.wrong(read.at("id"), f"the rule `{name}` is defined twice", f"rename one; the first is {first[name]}")
        elif rule is not BAD:
            made.append(rule)
        first.setdefault(name, f"{sheet.document.file}:{read.at('id').line}")
    return tuple(sorted(made, key=lambda rule: rule.id))


def _people(files: Files) -> People:
    persons = {name: directory.person(name, entry.value) for name, entry in _once(files, "people").items()}
    groups = {
        name: directory.group(name, entry.node.place, entry.value, entry.sheet) for name, entry in _once(files, "groups").items()
    }
    return People(persons=persons, groups=groups)


def _servers(files: Files) -> dict[str, Any]:
    entries = _once(files, "servers")
    for name, entry in entries.items():
        if (other := mixed_up(name, entries)) and len(other) < len(name):
            entry.sheet.wrong(
                entry.table.node.keys[name], f"`{name}` and `{other}` could have tools of one name at `/mcp`",
                f"rename it so that it does not begin with `{other}_`",
            )  # fmt: skip
    return {name: directory.server(name, entry.value, entry.sheet) for name, entry in entries.items()}
