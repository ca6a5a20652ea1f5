"""Adapter: MCP out. HTTP forwarding, supervised stdio sessions. Must not know policy."""
