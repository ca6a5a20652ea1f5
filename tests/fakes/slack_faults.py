"""What goes wrong at Slack, on purpose: asked to wait, replies lost after the work was done, errors, nobody there."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Forward = Callable[[], Awaitable[web.Response]]


class Fault:
    """Strikes calls of `method` (`*`: all) `times` times (-1: until it is taken away).

    `kind`: `429` (with `wait` seconds), `500`, `lost` (done, but the reply is lost), `gone` (not done, and no reply),
    `html` (a page instead of JSON), or Slack's own error code.
    """

    def __init__(self, method: str, kind: str, *, times: int = 1, wait: int = 1) -> None:
        self.method = method
        self.kind = kind
        self.left = times
        self.wait = wait
        self.struck = 0

    def strikes(self, method: str) -> bool:
        return self.left != 0 and self.method in ("*", method)

    async def strike(self, forward: Forward, request: web.Request) -> web.StreamResponse:
        self.left -= 1
        self.struck += 1
        match self.kind:
            case "429":
                return web.json_response(
                    {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": str(self.wait)}
                )
            case "500":
                return web.json_response({"ok": False, "error": "internal_error"}, status=500)
            case "html":
                return web.Response(status=503, text="<html>busy</html>", content_type="text/html")
            case "lost" | "gone":
                if self.kind == "lost":
                    await forward()
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case code:
                return web.json_response({"ok": False, "error": code})


class Limits:
    """Slack's documented limits as token buckets. `violations` counts what they refused; off by default."""

    def __init__(self) -> None:
        self.on = False
        self.violations: list[tuple[str, str]] = []
        self.rules: dict[str, tuple[float, int]] = {
            "chat.postMessage": (1.0, 3),
            "chat.update": (1.2, 20),
            "views.publish": (0.6, 20),
        }
        self._buckets: dict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (float("inf"), time.monotonic()))

    def refuse(self, method: str, fields: dict[str, Any]) -> int | None:
        """Return the seconds to wait where a call is one too many."""
        if not self.on or method not in self.rules:
            return None
        every, burst = self.rules[method]
        key = (method, str(fields.get("channel", "")) if method == "chat.postMessage" else "")
        tokens, at = self._buckets[key]
        now = time.monotonic()
        tokens = min(float(burst), tokens + (now - at) / every)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            self.violations.append(key)
            return 1
        self._buckets[key] = (tokens - 1, now)
        return None
