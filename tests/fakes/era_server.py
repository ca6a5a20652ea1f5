"""The tools of `stdio_tools` over HTTP, in the eras that its argument names.

python -m tests.fakes.era_server [both|older|newer] [FILE]
"""

from __future__ import annotations

import sys
from typing import Any

from mcp_types.version import LATEST_MODERN_VERSION

from tests.fakes.serving import serve
from tests.fakes.stdio_tools import make


class OnlyOlder:
    """Refuses what it does not know, as servers from before 2026-07-28 do."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"")
        if version != LATEST_MODERN_VERSION.encode():
            await self._app(scope, receive, send)
            return
        body = (
            b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Unsupported protocol version"}}'
        )
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    eras = sys.argv[1] if len(sys.argv) > 1 else "both"
    app: Any = make(eras).streamable_http_app()
    serve(OnlyOlder(app) if eras == "older" else app)
