"""Is what a client has configured what is approved here? For clients and services that look before they connect.

The answer is for the one who asks: what they may not know of reads as what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import post
from litestar.params import JSONBody

from broker.channels.web.official_api import items_told
from broker.channels.web.parts import Web
from broker.channels.web.readers import known, reader_of
from broker.channels.web.visitors import AnyRequest
from broker.domain.text import visible
from broker.registry.official import GOVERNANCE, OFFICIAL, Item
from broker.registry.pins import Pin

_CALLED = ("approved", "declared")
_LONGEST = 100


class Configured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client has: the official name, the version, the address that it would call, and the tools that it was shown.

    `tools` are digests by name: `sha256:` and the hex SHA-256 of the tool's canonical JSON (RFC 8785) as listed, without `_meta`.
    What is left out is not looked at.
    """

    name: str
    version: str = "latest"
    url: str = ""
    tools: dict[str, str] = {}


class Valid(msgspec.Struct, frozen=True):
    """`reason` says why it is not."""

    valid: bool
    reason: str = ""


@post("/api/validate", status_code=200, guards=[known], opt={"anonymous": True}, tags=["registry"])
async def validate(request: AnyRequest, data: JSONBody[Configured]) -> Valid:
    """Say whether a server is approved at this version, its address the broker's, and its tools those that were accepted."""
    items = [one for one in await items_told(request, await reader_of(request)) if one.name == data.name]
    why = _refused(items, data)
    if not why and data.tools:
        why = _changed(await Web.of(request).parts.accepted.of(data.name.partition("/")[2]), data.tools)
    return Valid(not why, why)


def _refused(items: list[Item], asked: Configured) -> str:
    """Why a server is not to be called as it is configured; empty where it is fine."""
    one = next((item for item in items if (item.latest if asked.version == "latest" else item.version == asked.version)), None)
    if one is None:
        return "this server or version is not approved here" if not items else f"there is no version {_short(asked.version)} here"
    about: dict[str, Any] = one.body["_meta"]
    lifecycle = about[GOVERNANCE]["lifecycle"]
    if lifecycle not in _CALLED:
        return f"the server is not approved: {lifecycle.replace('_', ' ')}"
    if one.status == "deleted":
        return f"this version is deleted: {about[OFFICIAL].get('statusMessage') or 'it gets no call'}"
    if not about[GOVERNANCE]["inForce"]:
        return "this version is not in force: calls go to another one"
    address = one.body["server"]["remotes"][0]["url"]
    return "" if asked.url in ("", address) else f"the address of this server is {address}"


def _changed(pins: Mapping[str, Pin], tools: Mapping[str, str]) -> str:
    """Which tools are not as somebody accepted them."""
    for tool, digest in tools.items():
        if tool not in pins:
            return f"nobody has accepted the tool {_short(tool)}"
        if pins[tool].digest != digest:
            return f"the tool {_short(tool)} is not what was accepted"
    return ""


def _short(told: str) -> str:
    return visible(told, keep="")[:_LONGEST]


ROUTES = (validate,)
