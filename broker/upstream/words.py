"""The protocol's own names and numbers, spelled here: importing the SDK for them takes longer than all the rest of a start.

The tests hold each against the SDK's (MCP 2026-07-28 and 2025-11-25, `schema.ts`; basic/transports, streamable HTTP).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LATEST_MODERN_VERSION = "2026-07-28"
MODERN_PROTOCOL_VERSIONS = (LATEST_MODERN_VERSION,)
LATEST_HANDSHAKE_VERSION = "2025-11-25"
HANDSHAKE_PROTOCOL_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", LATEST_HANDSHAKE_VERSION)

PROTOCOL_VERSION_META_KEY = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES_META_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_META_KEY = "io.modelcontextprotocol/clientInfo"
SERVER_INFO_META_KEY = "io.modelcontextprotocol/serverInfo"
LOG_LEVEL_META_KEY = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_ID_META_KEY = "io.modelcontextprotocol/subscriptionId"

NAME_BEARING_METHODS = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
ERROR_CODE_HTTP_STATUS = {-32700: 400, -32600: 400, -32602: 400, -32020: 400, -32021: 400, -32022: 400, -32601: 404}


def header_value(text: str) -> str:
    """Return a text as `Mcp-Name` carries it: itself, or wrapped in base64 where a header could not hold it."""
    import mcp  # noqa: F401, PLC0415 - whole before its parts: see test_late_imports.py
    from mcp.shared.inbound import encode_header_value  # noqa: PLC0415 - heavy, and not needed for most calls

    return encode_header_value(text)


def parameter_headers(schema: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that mirror arguments, as a tool's input schema asks for them; none without one."""
    if not schema:
        return {}
    import mcp  # noqa: F401, PLC0415 - whole before its parts: see test_late_imports.py
    from mcp.shared.inbound import mcp_param_headers, x_mcp_header_map  # noqa: PLC0415 - as above

    return mcp_param_headers(x_mcp_header_map(dict(schema)), dict(arguments))
