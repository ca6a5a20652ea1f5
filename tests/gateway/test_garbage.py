"""Mutated messages by the hundred: always a well-formed answer, and never a failure of ours."""

from __future__ import annotations

import gc
import json
import os
import random
import sys
from pathlib import Path

import httpx2
import pytest

from tests.fakes.scripted import Upstream
from tests.gateway.rig import Rig
from tests.gateway.wire import begun, call, head, modern, request

SEEDS = (
    json.dumps(call("echo", {"a": [1, {"b": None}]})).encode(),
    json.dumps(modern("tools/list")).encode(),
    json.dumps(request("tools/call", {"name": "echo", "arguments": {}})).encode(),
    json.dumps(request("notifications/cancelled", {"requestId": 1})).encode(),
    json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode(),
    json.dumps(call("scripted__echo", {"a": [1, {"b": None}]})).encode(),
)
PARTS = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"1e999", b"-", b"\\u0000", b"\\", b"\x00", b"\xff", b'"id":{}')


def mutated(chance: random.Random) -> bytes:
    body = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0:
                body[at : at + chance.randint(1, 9)] = b""
            case 1:
                body[at:at] = chance.choice(PARTS)
            case 2:
                body[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                start = chance.randrange(len(body) + 1)
                body[at:at] = body[start : start + 20]
    return bytes(body)


async def check(http: httpx2.AsyncClient, url: str, count: int, seed: int) -> None:
    chance = random.Random(seed)
    session = await begun(http, url)
    older = {"accept": "*/*", "content-type": "application/json", "mcp-session-id": session}
    for _ in range(count):
        message = mutated(chance)
        headers = chance.choice((head("tools/call", "echo"), head("tools/list"), older))
        response = await http.post(url, content=message, headers=headers)
        assert response.status_code in (200, 202, 400, 404), (message, response.text)
        if response.status_code != 202:
            told = response.json()
            assert told["jsonrpc"] == "2.0" and ("result" in told) != ("error" in told), (message, told)
            assert told.get("error", {}).get("code") != -32603, (message, told)


async def test_garbage_is_answered_well_formed(scripted: Rig, http: httpx2.AsyncClient) -> None:
    await check(http, scripted.mcp("scripted"), 400, seed=1)
    await check(http, scripted.all, 200, seed=2)


def resident() -> int:
    """Bytes of memory that this process has, the gateway in it."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(600)
async def test_much_garbage_is_answered_well_formed_and_leaves_nothing_behind(
    scripted: Rig, http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    used: list[int] = []
    for seed in range(10):
        for url in (scripted.mcp("scripted"), scripted.all):
            await check(http, url, 500, seed)
        upstream.seen.clear()
        used.append(resident())
    assert used[-1] - used[1] < 4 << 20, [value >> 10 for value in used]
