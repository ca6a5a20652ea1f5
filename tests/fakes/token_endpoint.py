"""A token endpoint that keeps what it was asked, and answers as a test wants it to."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, NamedTuple

from aiohttp import web


class Question(NamedTuple):
    """`client` is name and secret as they came, in the head or in the form."""

    client: str
    form: dict[str, str]


class TokenEndpoint:
    """Gives `token-1`, `token-2`, …, for `lasts` seconds each. `says` replaces the answer."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Question] = []
        self.lasts: Any = 3600
        self.says: web.Response | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        return runner

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        basic = request.headers.get("authorization", "").removeprefix("Basic ")
        client = base64.b64decode(basic).decode() if basic else f"{form.pop('client_id')}:{form.pop('client_secret', '')}"
        self.asked.append(Question(client, form))
        await self.open.wait()
        if self.says is not None:
            return self.says
        told = {"access_token": f"token-{len(self.asked)}", "token_type": "Bearer", "expires_in": self.lasts}
        return web.json_response(told)
