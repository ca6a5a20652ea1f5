"""A human-in-the-loop approval broker for MCP: it stands between agents and guarded servers."""

__version__ = "0.1.0"
