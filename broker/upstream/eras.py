"""Between the eras: what a message of one era is in the other. Pure.

*Older* is 2024-11-05 to 2025-11-25: a handshake, then a session. *Newer* is 2026-07-28: no session, each request carries
its own envelope in `params._meta`, each result says what kind it is and how long it may be kept.

What is lost: a newer client in front of an older server gets no log messages and can't be asked (sampling, elicitation,
roots), since the older server asks in the middle of a call. An older client in front of a newer server gets log messages
only while a call of its own runs. Core tasks of 2025-11-25 pass neither way.
"""

from __future__ import annotations

from typing import Any

from broker import __version__
from broker.upstream.flights import Message, meta_of
from broker.upstream.words import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
)

NEWER = LATEST_MODERN_VERSION
US = {"name": "approval-broker", "version": __version__}

METHOD_NOT_FOUND, INVALID_PARAMS, UNSUPPORTED_VERSION = -32601, -32602, -32022
# "Resource not found" has a code of its own in the older era.
RESOURCE_NOT_FOUND = -32002

_ENVELOPE = (PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, LOG_LEVEL_META_KEY)
_KEPT = frozenset(
    ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")
)
_OF_RESULT = ("resultType", "ttlMs", "cacheScope")
# Members of `params` that only a newer server understands.
_ROUNDS = ("inputResponses", "requestState")


def is_newer(version: str, message: Message) -> bool:
    """Is a message in the newer era? `version` is the header's; a body that carries the envelope needs none."""
    return PROTOCOL_VERSION_META_KEY in meta_of(message) or (version != "" and version not in HANDSHAKE_PROTOCOL_VERSIONS)


def enveloped(request: Message, capabilities: Message, client: Message, log_level: str = "") -> Message:
    """Return an older request as a newer server takes it."""
    params = request.get("params") or {}
    meta = {**(params.get("_meta") or {}), PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION}
    meta |= {CLIENT_CAPABILITIES_META_KEY: capabilities, CLIENT_INFO_META_KEY: client}
    if log_level:
        meta[LOG_LEVEL_META_KEY] = log_level
    return {**request, "params": {**params, "_meta": meta}}


def bare(request: Message) -> Message:
    """Return a newer request as an older server takes it: without the envelope."""
    params = {name: value for name, value in request["params"].items() if name not in _ROUNDS}
    meta = {name: value for name, value in meta_of(request).items() if name not in _ENVELOPE}
    params = {**params, "_meta": meta} if meta else {name: value for name, value in params.items() if name != "_meta"}
    return {**request, "params": params}


def newer_answer(method: str, answer: Message, server_info: Message) -> Message:
    """Return an older server's answer for a newer client."""
    if "error" in answer:
        return _newer_error(answer) if method == "resources/read" else answer
    result = answer.get("result")
    result = result if isinstance(result, dict) else {}
    told = {"ttlMs": 0, "cacheScope": "private"} if method in _KEPT else {}
    meta = {SERVER_INFO_META_KEY: server_info, **(result.get("_meta") or {})}
    return {**answer, "result": {"resultType": "complete", **told, **result, "_meta": meta}}


def older_answer(answer: Message) -> Message:
    """Return a newer server's answer for an older client."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    result = {name: value for name, value in result.items() if name not in _OF_RESULT}
    meta = {name: value for name, value in (result.pop("_meta", None) or {}).items() if name != SERVER_INFO_META_KEY}
    return {**answer, "result": {**result, "_meta": meta} if meta else result}


def initialize_request(number: Any, version: str = LATEST_HANDSHAKE_VERSION) -> Message:
    """Our own handshake. It declares no capability: nobody here could be asked."""
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": US}
    return {"jsonrpc": "2.0", "id": number, "method": "initialize", "params": params}


def discover_request(number: Any) -> Message:
    return enveloped({"jsonrpc": "2.0", "id": number, "method": "server/discover"}, {}, US)


def initialized(hello: Message, asked: Any, server: str) -> Message:
    """Return the result of `initialize` for a client that asked for the version `asked`.

    `hello` is the server's own InitializeResult or DiscoverResult. An older version than the server's is granted: revisions of
    this era only add.
    """
    spoken = hello.get("protocolVersion", LATEST_HANDSHAKE_VERSION)
    version = asked if asked in HANDSHAKE_PROTOCOL_VERSIONS and asked <= spoken else spoken
    result = {name: value for name, value in hello.items() if name not in (*_OF_RESULT, "supportedVersions", "_meta")}
    info = hello.get("serverInfo") or server_info(hello, server)
    return {**result, "protocolVersion": version, "capabilities": hello.get("capabilities") or {}, "serverInfo": info}


def discovered(hello: Message) -> Message:
    """Return the result of `server/discover` made from an older server's InitializeResult."""
    capabilities = {name: value for name, value in (hello.get("capabilities") or {}).items() if name not in ("logging", "tasks")}
    told = {name: hello[name] for name in ("instructions",) if name in hello}
    return {"supportedVersions": [LATEST_MODERN_VERSION], "capabilities": capabilities, **told}


def server_info(hello: Message, server: str) -> Message:
    """The server's name for itself; the catalogue's, where a newer server says nothing."""
    info = hello.get("serverInfo") or (hello.get("_meta") or {}).get(SERVER_INFO_META_KEY)
    return info if isinstance(info, dict) else {"name": server, "version": ""}


def result(request: Message, value: Message) -> Message:
    return {"jsonrpc": "2.0", "id": request["id"], "result": value}


def error(request: Message, code: int, text: str, data: Any = None) -> Message:
    told = {"code": code, "message": text} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": request.get("id"), "error": told}


def no_method(request: Message) -> Message:
    return error(request, METHOD_NOT_FOUND, "Method not found")


def ignored(message: Message) -> None:
    """A sink for what concerns no caller: what a server says while we ask it on our own account."""


def _newer_error(answer: Message) -> Message:
    told = answer["error"]
    missing = isinstance(told, dict) and told.get("code") == RESOURCE_NOT_FOUND
    return {**answer, "error": {**told, "code": INVALID_PARAMS}} if missing else answer
