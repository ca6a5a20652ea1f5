"""{{ title }}: the tools of one domain, and nothing else. Replace the notes by what yours is about."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

from broker.authorized import authorize_tool
from broker.paved import caller, serve

server = MCPServer("{{ name }}", instructions="{{ title }}: notes that people and agents keep.")
NOTES: list[str] = ["the first note"]


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def notes_list() -> list[str]:
    """List all notes."""
    return NOTES


@server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=False))
@authorize_tool(policy="{{ group }}", identity=caller("{{ name }}"))
def notes_add(text: str) -> str:
    """Add a note, for members of {{ group }}."""
    NOTES.append(text)
    return f"note {len(NOTES)} was added"


if __name__ == "__main__":
    serve(server)
