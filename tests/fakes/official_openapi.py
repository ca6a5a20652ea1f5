"""The official registry's answers as JSON Schemas, written after its OpenAPI text of 2025-12-01, as far as it is known here."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

NAME = {"type": "string", "pattern": r"^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "minLength": 3, "maxLength": 200}
MOMENT = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
REMOTE = {
    "type": "object",
    "required": ["type", "url"],
    "properties": {
        "type": {"enum": ["streamable-http", "sse"]},
        "url": {"type": "string", "pattern": "^(https?://|{)"},
        "headers": {"type": "array"},
        "variables": {"type": "object"},
    },
    "additionalProperties": False,
}
SERVER = {
    "type": "object",
    "required": ["name", "description", "version"],
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "name": NAME,
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": {"type": "string", "maxLength": 255},
        "repository": {"type": "object", "required": ["url", "source"]},
        "websiteUrl": {"type": "string", "format": "uri"},
        "icons": {"type": "array", "items": {"type": "object", "required": ["src"]}},
        "remotes": {"type": "array", "items": REMOTE, "minItems": 1},
        "packages": {"type": "array"},
        "_meta": {"type": "object"},
    },
    "additionalProperties": False,
}
OFFICIAL = {
    "type": "object",
    "required": ["status", "statusChangedAt", "publishedAt", "updatedAt", "isLatest"],
    "properties": {
        "status": {"enum": ["active", "deprecated", "deleted"]},
        "statusMessage": {"type": "string", "maxLength": 500},
        "statusChangedAt": MOMENT,
        "publishedAt": MOMENT,
        "updatedAt": MOMENT,
        "isLatest": {"type": "boolean"},
    },
    "additionalProperties": False,
}
RESPONSE = {
    "type": "object",
    "required": ["server", "_meta"],
    "properties": {
        "server": SERVER,
        "_meta": {
            "type": "object",
            "required": ["io.modelcontextprotocol.registry/official"],
            "properties": {"io.modelcontextprotocol.registry/official": OFFICIAL},
            "additionalProperties": {"type": "object"},
        },
    },
    "additionalProperties": False,
}
LIST = {
    "type": "object",
    "required": ["servers", "metadata"],
    "properties": {
        "servers": {"type": "array", "items": RESPONSE},
        "metadata": {
            "type": "object",
            "properties": {"nextCursor": {"type": "string", "minLength": 1}, "count": {"type": "integer", "minimum": 0}},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
STATUSES = {
    "type": "object",
    "required": ["updatedCount", "servers"],
    "properties": {"updatedCount": {"type": "integer"}, "servers": {"type": "array", "items": RESPONSE}},
    "additionalProperties": False,
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "minLength": 1}},
    "additionalProperties": False,
}


def fits(schema: dict[str, Any], document: Any) -> Any:
    """Return the document if it fits. Raises jsonschema's `ValidationError`."""
    validator_for(schema, Draft202012Validator)(schema).validate(document)
    return document
