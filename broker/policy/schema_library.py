"""The rare rest of JSON Schema, by the `jsonschema` library: other drafts, dynamic references, `unevaluated…`, `contains`.

The library would fetch references, search with Python's `re` and work without end: none of it here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
from jsonschema import validators
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # no py.typed
from referencing.exceptions import Unresolvable

from broker.policy.schema_checks import Check, Miss, Steps, Unusable, found, same

# The library takes some 20 times as long for what the compiled checks do.
_COST = 20


def compiled(schema: Any) -> Check:
    """Return the check of a schema document. Nothing is checked about the schema itself: what is odd fails when it is used."""
    if not isinstance(schema, dict):
        raise Unusable("the tool's input schema can't be used")
    kind = validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    unevaluated = b'"unevaluatedProperties"' in msgspec.json.encode(schema)
    if unevaluated and b'"patternProperties"' in msgspec.json.encode(schema):
        raise Unusable("the tool's input schema mixes unevaluatedProperties with patterns")
    own = {**kind.VALIDATORS, **_OWN}
    counting = {name: _counting(keyword) for name, keyword in own.items() if keyword is not None}
    extended = validators.extend(kind, counting)  # type: ignore[no-untyped-call]  # the library has no types here
    validator = extended(schema, registry=REGISTRY)

    def check(value: Any, steps: Steps) -> Miss | None:
        _Budget.steps = steps
        try:
            error = next(validator.iter_errors(value), None)
        except (jsonschema.exceptions.UnknownType, Unresolvable):
            raise Unusable("the tool's input schema can't be used") from None
        return Miss(error.validator or "false", tuple(map(str, reversed(error.absolute_path)))) if error is not None else None

    return check


class _Budget:
    """Of the check that runs. One at a time: a check neither waits nor yields."""

    steps = Steps(0)


def _counting(keyword: Any) -> Any:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _Budget.steps.take(_COST)
        return keyword(validator, value, instance, schema)

    return counted


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not found(value, instance):
        yield jsonschema.ValidationError("")


def _pattern_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    for pattern, below in value.items() if isinstance(instance, dict) else ():
        for name, item in instance.items():
            _Budget.steps.take(_COST)
            if found(pattern, name):
                yield from validator.descend(item, below, path=name, schema_path=pattern)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    listed, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in instance.items() if isinstance(instance, dict) else ():
        if name not in listed and not any(found(pattern, name) for pattern in patterns):
            yield from validator.descend(item, value, path=name)


def _unique_items(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if value and isinstance(instance, list):
        _Budget.steps.take(_COST * len(instance))
        if len({same(item) for item in instance}) < len(instance):
            yield jsonschema.ValidationError("")


_OWN = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
