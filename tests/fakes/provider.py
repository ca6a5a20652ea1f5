"""An outside issuer of access tokens: a discovery document, keys that rotate, and whatever token a test needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

BASE = "https://approvals.example.com"
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


class Provider:
    """An issuer with a discovery document and keys that rotate."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "first"})]
        self.url = ""
        self.asked = 0

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": self.url + "/keys"})

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    def token(self, *, key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        signing = key or self.keys[-1]
        told = {
            "iss": self.url, "sub": "alice@example.com", "aud": f"{BASE}/mcp", "client_id": "claude-code",
            "exp": int((NOW + timedelta(minutes=5)).timestamp()), "groups": ["support"], **claims,
        }  # fmt: skip
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(header or {"alg": "RS256", "kid": signing.kid}, told, signing, algorithms=["RS256", "ES256", "HS256"])
