"""Arguments against a tool's input schema (JSON Schema). The schema is the server's word, so it may be hostile itself.

No remote reference is followed, patterns are RE2's (linear in the text), and the work of one check is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from broker.domain.servers import ToolDefinition
from broker.domain.text import clipped, visible
from broker.errors import Malformed
from broker.policy import schema_compile, schema_library
from broker.policy.schema_checks import Check, Miss, Steps, Unsupported, Unusable

STEPS = 20_000
_LARGEST = 256 << 10
_REMEMBERED = 512
_USELESS = "the tool's input schema can't be used"
# A schema is the server's word: whatever it makes the checks stumble over, nothing fits it.
_STUMBLED = (RecursionError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError)
_Fits = Callable[[Any], str]


def misfit(definition: ToolDefinition | None, arguments: Any) -> str:
    """Return how the arguments miss the tool's input schema, empty when they fit or there is none.

    A schema that can't be used fits nothing: what can't be checked is not let through.
    """
    if definition is None or not definition.raw.get("inputSchema"):
        return ""
    return _remembered(definition)(arguments)


_by_object: OrderedDict[int, tuple[ToolDefinition, _Fits]] = OrderedDict()
_by_digest: OrderedDict[str, _Fits] = OrderedDict()


def _remembered(definition: ToolDefinition) -> _Fits:
    """The check of a definition, made once for each digest; the same object is not even hashed again."""
    kept = _by_object.get(id(definition))
    if kept is not None and kept[0] is definition:
        return kept[1]
    try:
        digest = definition.digest()
    except Malformed:
        return lambda arguments: _USELESS
    fits = _by_digest.get(digest) or _made(definition.raw["inputSchema"])
    _keep(_by_digest, digest, fits)
    # The definition itself is kept, so that its id stays its own.
    _keep(_by_object, id(definition), (definition, fits))
    return fits


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)


def _made(schema: Any) -> _Fits:
    try:
        check = _compiled(schema)
    except Unusable as error:
        told = str(error)
        return lambda arguments: told
    except (*_STUMBLED, msgspec.EncodeError):
        return lambda arguments: _USELESS

    def fits(arguments: Any) -> str:
        try:
            miss = check(arguments, Steps(STEPS))
        except Unusable as error:
            return str(error)
        except _STUMBLED:
            return _USELESS
        return _told(miss) if miss is not None else ""

    return fits


def _compiled(schema: Any) -> Check:
    if len(msgspec.json.encode(schema)) > _LARGEST:
        raise Unusable("the tool's input schema is too large")
    try:
        return schema_compile.compiled(schema)
    except Unsupported:
        return schema_library.compiled(schema)


def _told(miss: Miss) -> str:
    """Which argument, and which keyword of the schema; never the value."""
    where = ".".join(reversed(miss.path)) or "arguments"
    return f"`{clipped(visible(where[:200], keep=''), 80)}` is not what the tool's input schema says ({miss.keyword})"
