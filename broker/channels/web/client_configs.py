"""What people copy to reach a server through the broker: the address is the broker's, the token each one's own. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec

TOKEN = "BROKER_TOKEN"


class Snippet(msgspec.Struct, frozen=True):
    """`where` says into which file or program it goes."""

    client: str
    where: str
    text: str


def snippets(name: str, base: str) -> tuple[Snippet, ...]:
    """Return one for each client that people ask about."""
    url = f"{base.rstrip('/')}/mcp/{name}"
    return (
        Snippet("Claude Code", "in a shell", _claude(name, url)),
        Snippet("VS Code", ".vscode/mcp.json", _pretty(_vs_code(name, url))),
        Snippet("Cursor", "~/.cursor/mcp.json", _pretty(_cursor(name, url))),
        Snippet("Python SDK", "mcp 2.x", _python(url)),
    )


def _claude(name: str, url: str) -> str:
    return f'claude mcp add --transport http {name} {url} \\\n  --header "Authorization: Bearer ${TOKEN}"'


def _vs_code(name: str, url: str) -> dict[str, Any]:
    asks = {"id": "broker", "type": "promptString", "description": "Your agent's token", "password": True}
    return {"servers": {name: {"type": "http", "url": url, "headers": _header("${input:broker}")}}, "inputs": [asks]}


def _cursor(name: str, url: str) -> dict[str, Any]:
    return {"mcpServers": {name: {"url": url, "headers": _header(f"${{env:{TOKEN}}}")}}}


def _header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _pretty(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2)


def _python(url: str) -> str:
    return f'''\
import anyio, httpx2, os
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client


async def main() -> None:
    headers = {{"Authorization": f"Bearer {{os.environ['{TOKEN}']}}"}}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client("{url}", http_client=http)) as client:
            print([tool.name for tool in (await client.list_tools()).tools])


anyio.run(main)
'''
