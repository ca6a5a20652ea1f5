"""`Mcp-Param-…` headers: arguments that a tool's schema mirrors into the head (2026-07-28, `x-mcp-header`).

A server may act on the header while the policy judged the body, so what can't be compared with the body is not sent on.
"""

from __future__ import annotations

from broker.errors import Malformed
from broker.gateway.envelope import HEADER_MISMATCH
from broker.gateway.ports import Schemas
from broker.gateway.visits import Visit


async def checked_parameters(visit: Visit, schemas: Schemas) -> dict[str, str]:
    """Return the parameter headers of a call as they go upstream. Raises `Malformed` where they and the body disagree.

    Those that the schema does not declare, or all where it is not known, are left out.
    """
    # The SDK is heavy to import, and only tools with mirrored arguments need it.
    import mcp  # noqa: F401, PLC0415 - whole before its parts: see test_late_imports.py
    from mcp.shared.inbound import mcp_param_headers, validate_mcp_param_headers, x_mcp_header_map  # noqa: PLC0415

    params = visit.message.params
    schema = await schemas(visit.server.name, params["name"])
    if schema is None:
        return {}
    arguments = params.get("arguments", {})
    refusal = validate_mcp_param_headers(schema, arguments, visit.head.parameters)
    if refusal is not None:
        raise Malformed(refusal.message, rpc=HEADER_MISMATCH)
    made = mcp_param_headers(x_mcp_header_map(schema), arguments)
    return {name.lower(): value for name, value in made.items()}
