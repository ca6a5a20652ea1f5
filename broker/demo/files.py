"""Toy server: text files in a scratch folder. Nothing outside the folder can be named."""

from __future__ import annotations

from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations


def files(folder: Path) -> MCPServer:
    """Return the server over `folder`, which is made when it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "welcome.txt").write_text("This file can be read, written and, by the server alone, deleted.\n")
    server = MCPServer("files", instructions="Text files in a scratch folder.", log_level="WARNING")

    def inside(name: str) -> Path:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or path == folder.resolve():
            raise ToolError(f"{name!r} lies outside the folder")
        return path

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def file_list() -> list[str]:
        """List the files."""
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def file_read(name: str) -> str:
        """Return the text of a file."""
        return inside(name).read_text()

    @server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
    def file_write(name: str, text: str) -> str:
        """Write a file, new or not."""
        path = inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return f"{name}: {len(text)} characters"

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def file_delete(name: str) -> str:
        """Delete a file."""
        inside(name).unlink()
        return f"{name} is gone"

    return server
