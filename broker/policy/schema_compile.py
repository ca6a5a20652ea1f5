"""A whole JSON Schema compiled into one function: nested schemas, references inside the document, and what joins them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from broker.policy.schema_checks import SIMPLE, Check, Miss, Steps, Unsupported, found

_UNSUPPORTED = frozenset((
    "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor", "$id", "id", "unevaluatedProperties",
    "unevaluatedItems", "additionalItems", "dependencies", "dependentSchemas", "contains", "maxContains", "extends", "disallow",
    "divisibleBy",
))  # fmt: skip
_OLD_DRAFTS = ("draft-03", "draft-04")


def compiled(schema: Any) -> Check:
    """Return the check of a schema document. Raises `Unsupported` where it holds what is not understood here."""
    return _Compiler(schema).made(schema)


class _Compiler:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._by_reference: dict[str, Check] = {}
        told = str(root.get("$schema", "")) if isinstance(root, dict) else ""
        if any(draft in told for draft in _OLD_DRAFTS):
            raise Unsupported("$schema")
        # Up to draft 7, what stands beside a reference is ignored.
        self._reference_alone = "draft-07" in told or "draft-06" in told

    def made(self, schema: Any) -> Check:
        if schema is True or schema == {}:
            return lambda value, steps: None
        if schema is False:
            return lambda value, steps: Miss("false")
        if not isinstance(schema, dict) or not _UNSUPPORTED.isdisjoint(schema):
            raise Unsupported("a keyword")
        checks = [self._keyword(name, schema) for name in schema if name in SIMPLE or name in _NESTED]
        if "$ref" in schema:
            beside = bool(checks)
            checks.append(self._reference(schema["$ref"]))
            if beside and self._reference_alone:
                raise Unsupported("$ref")
        return _all(checks)

    def _keyword(self, name: str, schema: dict[str, Any]) -> Check:
        if name in SIMPLE:
            return SIMPLE[name](schema[name])
        return _NESTED[name](self, schema)

    def _reference(self, reference: Any) -> Check:
        """Follow a pointer inside the document. The check is looked up when it is used: references may go in circles."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")) or "%" in reference:
            raise Unsupported("$ref")
        if reference not in self._by_reference:
            self._by_reference[reference] = lambda value, steps: None
            self._by_reference[reference] = self.made(self._pointed(reference))

        def check(value: Any, steps: Steps) -> Miss | None:
            steps.take(5)
            return self._by_reference[reference](value, steps)

        return check

    def _pointed(self, reference: str) -> Any:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in reference.split("/")[1:]]
        try:
            return reduce(lambda value, part: value[int(part) if isinstance(value, list) else part], parts, self._root)
        except (KeyError, IndexError, ValueError, TypeError):
            raise Unsupported("$ref") from None

    def _many(self, schemas: Any) -> list[Check]:
        if not isinstance(schemas, list):
            raise Unsupported("a list of schemas")
        return [self.made(schema) for schema in schemas]

    def _named(self, schemas: Any) -> dict[str, Check]:
        if not isinstance(schemas, dict):
            raise Unsupported("a mapping of schemas")
        return {name: self.made(schema) for name, schema in schemas.items()}

    # -- objects ------------------------------------------------------------------------------------------

    def properties(self, schema: dict[str, Any]) -> Check:
        named = self._named(schema["properties"])

        def check(value: Any, steps: Steps) -> Miss | None:
            for name in value if isinstance(value, dict) else ():
                if name in named and (miss := named[name](value[name], steps)) is not None:
                    return miss.under(name)
            return None

        return check

    def pattern_properties(self, schema: dict[str, Any]) -> Check:
        patterns = self._named(schema["patternProperties"])

        def check(value: Any, steps: Steps) -> Miss | None:
            for name in value if isinstance(value, dict) else ():
                steps.take(20 * len(patterns))
                for pattern, below in patterns.items():
                    if found(pattern, name) and (miss := below(value[name], steps)) is not None:
                        return miss.under(name)
            return None

        return check

    def additional_properties(self, schema: dict[str, Any]) -> Check:
        below, listed = self.made(schema["additionalProperties"]), frozenset(self._named(schema.get("properties", {})))
        patterns = tuple(self._named(schema.get("patternProperties", {})))

        def check(value: Any, steps: Steps) -> Miss | None:
            for name in value if isinstance(value, dict) else ():
                if name in listed or any(found(pattern, name) for pattern in patterns):
                    continue
                if (miss := below(value[name], steps)) is not None:
                    return Miss("additionalProperties", (name,)) if miss.keyword == "false" else miss.under(name)
            return None

        return check

    def property_names(self, schema: dict[str, Any]) -> Check:
        below = self.made(schema["propertyNames"])

        def check(value: Any, steps: Steps) -> Miss | None:
            misses = (below(name, steps) for name in (value if isinstance(value, dict) else ()))
            return next((Miss("propertyNames") for miss in misses if miss is not None), None)

        return check

    def dependent_required(self, schema: dict[str, Any]) -> Check:
        if not isinstance(schema["dependentRequired"], dict):
            raise Unsupported("dependentRequired")
        needs = {name: SIMPLE["required"](wanted) for name, wanted in schema["dependentRequired"].items()}

        def check(value: Any, steps: Steps) -> Miss | None:
            for name, needed in needs.items():
                if isinstance(value, dict) and name in value and needed(value, steps) is not None:
                    return Miss("dependentRequired")
            return None

        return check

    # -- arrays -------------------------------------------------------------------------------------------

    def items(self, schema: dict[str, Any]) -> Check:
        if isinstance(schema["items"], list):
            raise Unsupported("items")
        below, first = self.made(schema["items"]), len(schema.get("prefixItems", ()))

        def check(value: Any, steps: Steps) -> Miss | None:
            for index in range(first, len(value)) if isinstance(value, list) else ():
                if (miss := below(value[index], steps)) is not None:
                    return miss.under(index)
            return None

        return check

    def prefix_items(self, schema: dict[str, Any]) -> Check:
        checks = self._many(schema["prefixItems"])

        def check(value: Any, steps: Steps) -> Miss | None:
            for index, (below, item) in enumerate(zip(checks, value if isinstance(value, list) else (), strict=False)):
                if (miss := below(item, steps)) is not None:
                    return miss.under(index)
            return None

        return check

    # -- joined -------------------------------------------------------------------------------------------

    def all_of(self, schema: dict[str, Any]) -> Check:
        return _all(self._many(schema["allOf"]))

    def any_of(self, schema: dict[str, Any]) -> Check:
        checks = self._many(schema["anyOf"])
        return lambda value, steps: None if any(below(value, steps) is None for below in checks) else Miss("anyOf")

    def one_of(self, schema: dict[str, Any]) -> Check:
        checks = self._many(schema["oneOf"])
        return lambda value, steps: None if sum(below(value, steps) is None for below in checks) == 1 else Miss("oneOf")

    def negated(self, schema: dict[str, Any]) -> Check:
        below = self.made(schema["not"])
        return lambda value, steps: Miss("not") if below(value, steps) is None else None

    def conditional(self, schema: dict[str, Any]) -> Check:
        test, then, otherwise = self.made(schema["if"]), self.made(schema.get("then", True)), self.made(schema.get("else", True))
        return lambda value, steps: (then if test(value, steps) is None else otherwise)(value, steps)


def _all(checks: list[Check]) -> Check:
    def check(value: Any, steps: Steps) -> Miss | None:
        steps.take()
        for below in checks:
            miss = below(value, steps)
            if miss is not None:
                return miss
        return None

    return check


_NESTED: dict[str, Callable[[_Compiler, dict[str, Any]], Check]] = {
    "properties": _Compiler.properties,
    "patternProperties": _Compiler.pattern_properties,
    "additionalProperties": _Compiler.additional_properties,
    "propertyNames": _Compiler.property_names,
    "dependentRequired": _Compiler.dependent_required,
    "items": _Compiler.items,
    "prefixItems": _Compiler.prefix_items,
    "allOf": _Compiler.all_of,
    "anyOf": _Compiler.any_of,
    "oneOf": _Compiler.one_of,
    "not": _Compiler.negated,
    "if": _Compiler.conditional,
}
