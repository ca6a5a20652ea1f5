"""Adapter: MCP in. Envelope, eras of the protocol, holding, outcome to MCP result. Must not know who approves, and how."""
