"""Arguments against a tool's input schema, as it was accepted."""

from __future__ import annotations

from typing import Any

from broker.domain.servers import ToolDefinition


def misfit(definition: ToolDefinition | None, arguments: Any) -> str:
    return ""
