"""An identity provider that lies on demand: what it says in discovery and tokens is what a test wants it to say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey


class IdentityProvider:
    """Signs everybody in as `claims` say. `signer`, `header` and `discovery` are what forgers change."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first"})
        self.published = [self.key]
        self.signer = self.key
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "first"}
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.discovery: dict[str, Any] = {}
        self.seen: list[dict[str, str]] = []
        self.url = ""
        self.nonce = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def sent(self, address: str) -> dict[str, str]:
        """Read the address to which a browser was sent, and remember its nonce."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        self.nonce = query["nonce"]
        return query

    async def _discovery(self, _: web.Request) -> web.Response:
        told = {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys", "userinfo_endpoint": f"{self.url}/userinfo",
        }  # fmt: skip
        return web.json_response(told | self.discovery)

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.published]})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.seen.append(form | {"authorization": request.headers.get("authorization", "")})
        now = int(time.time())
        told = {
            "iss": self.url, "sub": "u-1", "aud": "approvals", "exp": now + 300, "iat": now, "nonce": self.nonce,
            "email": "ann@example.com", "email_verified": True, "groups": ["idp-finance"],
        }  # fmt: skip
        told = {name: value for name, value in (told | self.claims).items() if value is not None}
        if self.header["alg"] == "RS256":
            token = jwt.encode(self.header, told, self.signer)
        else:
            token = _forged(self.header, told, self.key.as_pem(private=False))
        return web.json_response({"id_token": token, "access_token": "t", "token_type": "Bearer"})

    async def _userinfo(self, _: web.Request) -> web.Response:
        return web.json_response(self.userinfo)


def _forged(header: dict[str, Any], claims: dict[str, Any], public: bytes) -> str:
    """A token without a signature, or with one that the public key makes as a shared secret: no library signs so."""
    signed = ".".join(_text(json.dumps(part).encode()) for part in (header, claims))
    mac = b"" if header["alg"] == "none" else hmac.new(public, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_text(mac)}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
