"""One call that somebody tries: a form made from the tool's input schema, and what it says as a call. Pure.

A schema is the server's word: names and choices are shown as it wrote them, and only ever as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from broker.channels.web.arguments import Piece, pieces
from broker.domain.calls import Caller, ToolCall
from broker.domain.servers import ToolDefinition
from broker.domain.text import clipped
from broker.errors import Malformed
from broker.policy.explain import Explanation, explain
from broker.policy.model import Facts, Policy
from broker.policy.ruleset import ruleset

LONGEST = 16 << 10
FIELDS = 40
CHOICES = 100
PREFIX = "arg."


class Field(msgspec.Struct, frozen=True):
    """One argument in the form. `kind`: text, number, choice or json; `choices` are JSON, so that `1` is not `"1"`."""

    name: str
    shown: tuple[Piece, ...]
    kind: str
    needed: bool
    value: str
    hint: tuple[Piece, ...] = ()
    choices: tuple[str, ...] = ()


class Trial(msgspec.Struct, frozen=True):
    """A call as typed. `arguments` is JSON and wins over `typed`, the fields by their names."""

    server: str = ""
    tool: str = ""
    arguments: str = ""
    user: str = ""
    groups: str = ""
    typed: dict[str, str] = {}

    @property
    def named(self) -> bool:
        return bool(self.server and self.tool)

    @property
    def asked(self) -> bool:
        """Is it a call already, or only the choice of a tool?"""
        return self.named and bool(self.arguments.strip() or self.typed)

    @property
    def own_groups(self) -> tuple[str, ...] | None:
        """The groups in place of the person's own; None where none were named."""
        return tuple(name.strip() for name in self.groups.split(",") if name.strip()) or None


def trial_of(given: Mapping[str, str]) -> Trial:
    """Read a trial from an address or a form."""
    plain = {name: given.get(name, "")[:LONGEST] for name in ("server", "tool", "arguments", "user", "groups")}
    typed = {name.removeprefix(PREFIX): text[:LONGEST] for name, text in given.items() if name.startswith(PREFIX)}
    return Trial(**{name: text.strip() for name, text in plain.items()}, typed=dict(list(typed.items())[:FIELDS]))


def fields(definition: ToolDefinition | None, trial: Trial) -> tuple[Field, ...]:
    """Return the form of a tool; empty where its schema names no properties, and JSON is the only way."""
    schema = definition.raw.get("inputSchema") if definition is not None else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return ()
    needed = schema.get("required") if isinstance(schema, dict) else None
    needed = set(filter(lambda name: isinstance(name, str), needed)) if isinstance(needed, list) else set()
    return tuple(
        _field(name, told if isinstance(told, dict) else {}, name in needed, trial.typed.get(name, ""))
        for name, told in list(properties.items())[:FIELDS]
    )


def _field(name: str, told: dict[str, Any], needed: bool, value: str) -> Field:
    hint = pieces(clipped(str(told.get("description") or ""), 200))
    chosen = told.get("enum") if isinstance(told.get("enum"), list) else [True, False] if told.get("type") == "boolean" else None
    shown = pieces(clipped(name, 80))
    if chosen:
        choices = tuple(clipped(msgspec.json.encode(one).decode(), 400) for one in chosen[:CHOICES])
        return Field(name, shown, "choice", needed, value, hint, choices)
    kind = {"string": "text", "number": "number", "integer": "number"}.get(str(told.get("type")), "json")
    return Field(name, shown, kind, needed, value, hint)


def arguments_of(trial: Trial, form: tuple[Field, ...]) -> Any:
    """Return the arguments that were typed; fields left empty are left out. Raises `Malformed` for JSON that is none."""
    if trial.arguments or not form:
        return _json(trial.arguments or "{}", "the arguments are")
    return {field.name: _value(field) for field in form if field.value}


def _value(field: Field) -> Any:
    """What was typed, as its kind: a number that is none stays text, so that one sees what the policy makes of it."""
    if field.kind == "text":
        return field.value
    try:
        return _json(field.value, f"`{clipped(field.name, 80)}` is")
    except Malformed:
        if field.kind == "number":
            return field.value
        raise


def _json(text: str, what: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Malformed(f"{what} no JSON: {error}") from None


def call_of(trial: Trial, form: tuple[Field, ...] = ()) -> ToolCall:
    """Return the call. Raises `Malformed`."""
    caller = Caller(user=trial.user, groups=trial.own_groups or ())
    return ToolCall(trial.server, trial.tool, {"name": trial.tool, "arguments": arguments_of(trial, form)}, caller)


def tried(
    policy: Policy, trial: Trial, now: datetime, *, form: tuple[Field, ...] = (), known: bool | None = None,
    definition: ToolDefinition | None = None,
) -> Explanation:  # fmt: skip
    """Judge the call of a trial and return what every rule says. Nothing is sent or counted. Raises `Malformed`.

    `known` and `definition` are those of the registry; without them servers.yaml alone says which tools are known.
    """
    listed = trial.server in policy.servers and trial.tool in policy.servers[trial.server].tools
    facts = Facts(
        now.astimezone(UTC), listed if known is None else known, definition, dict.fromkeys(ruleset(policy).counters, 0.0)
    )
    return explain(policy, call_of(trial, form), facts, trial.own_groups)
