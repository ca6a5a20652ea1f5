"""The fixture of the conformance suite over stdio.

python -m tests.fakes.conformance_stdio [both|older]
"""

from __future__ import annotations

import sys
import warnings

import anyio
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.fakes.conformance_server import fixture


async def main(eras: str) -> None:
    server = fixture()
    async with stdio_server() as (read, write):
        if eras == "older":
            await serve_loop(server, read, write, lifespan_state=None)
        else:
            await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # the older revision's suite asks for what the newer one dropped
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "both")
