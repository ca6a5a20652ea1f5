"""The JSON Schemas of policy files and of their tests, for editors: made from the grammar that the loader reads."""

from __future__ import annotations

from typing import Any

from broker.policy.cases import TESTS
from broker.policy.language import RULES

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def policy_schema() -> dict[str, Any]:
    """The schema of `*.yaml`."""
    return {"$schema": _DRAFT, "title": "approval-broker policy", **RULES.schema()}


def tests_schema() -> dict[str, Any]:
    """The schema of `*.test.yaml`."""
    return {"$schema": _DRAFT, "title": "approval-broker policy tests", **TESTS.schema()}
