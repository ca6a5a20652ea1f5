"""The two eras of the protocol: which methods each knows, and what its headers have to say about the body.

2026-07-28 is stateless: each request carries its own envelope in `params._meta`, mirrored by headers (basic/transports:
streamable HTTP). 2024-11-05 to 2025-11-25 begin with a handshake and may keep a session.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from broker.errors import Malformed
from broker.gateway.envelope import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
    Message,
)
from broker.gateway.heads import Head

MODERN = "2026-07-28"
HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
# What a client of the older era speaks that sends no version header (2025-06-18, streamable HTTP).
ASSUMED = "2025-03-26"

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"
TASKS = "io.modelcontextprotocol/tasks"

_BOTH = frozenset(
    ("completion/complete", "prompts/get", "prompts/list", "resources/list", "resources/read", "resources/templates/list")
) | {"tools/call", "tools/list"}
# Of the extension (its specification of 2026-07-28); nothing else of the older tasks is spoken.
TASK_REQUESTS = frozenset(("tasks/get", "tasks/update", "tasks/cancel"))
MODERN_REQUESTS = _BOTH | TASK_REQUESTS | {"server/discover", "subscriptions/listen"}
HANDSHAKE_REQUESTS = _BOTH | {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
HANDSHAKE_NOTIFICATIONS = frozenset(
    f"notifications/{name}" for name in ("initialized", "cancelled", "progress", "roots/list_changed")
)
# The member of `params` that `Mcp-Name` mirrors.
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", **dict.fromkeys(TASK_REQUESTS, "taskId")}

_WRAPPED = re.compile(r"=\?base64\?(.*)\?=")
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def check_headers(head: Head, message: Message) -> str:
    """Return the revision that the message is in, its headers and body agreeing. Raises `Malformed` where they don't."""
    version = head.version
    if version == MODERN:
        _check_modern(head, message)
        return version
    if version and version not in HANDSHAKE:
        told = {"supported": [MODERN], "requested": version}
        raise Malformed("this revision of the protocol is not spoken here", rpc=UNSUPPORTED_VERSION, data=told, id=message.id)
    if VERSION_KEY in message.meta:
        raise _mismatch("MCP-Protocol-Version", message)
    return version or ASSUMED


def check_method(version: str, message: Message, more: tuple[str, ...] = ()) -> None:
    """Raises `Malformed` for a request that neither the revision nor the catalogue (`more`) knows."""
    known = MODERN_REQUESTS if version == MODERN else HANDSHAKE_REQUESTS
    if message.method not in known and message.method not in more:
        raise Malformed("there is no such method", rpc=METHOD_NOT_FOUND, id=message.id)


def may_pass(version: str, notification: str, more: tuple[str, ...] = ()) -> bool:
    """Is the notification one that means something to the upstream? 2026-07-28 has none from client to server."""
    return notification in more or (version != MODERN and notification in HANDSHAKE_NOTIFICATIONS)


def client_of(message: Message) -> tuple[str, str]:
    """Return the client's own words about itself: name and version, shortened, empty where it says nothing."""
    return named(message.meta.get(CLIENT_KEY) if message.method != "initialize" else message.params.get("clientInfo"))


def named(told: Any) -> tuple[str, str]:
    """Return name and version out of a `clientInfo`, shortened; empty where it does not say."""
    if not isinstance(told, dict):
        return "", ""
    return _short(told.get("name")), _short(told.get("version"))


def takes_tasks(message: Message) -> bool:
    """Does this request declare the tasks extension? It holds for this one alone: capabilities come with each request."""
    declared = message.meta.get(CAPABILITIES_KEY)
    extensions = declared.get("extensions") if isinstance(declared, dict) else None
    return isinstance(extensions, dict) and isinstance(extensions.get(TASKS), dict)


def elicits(capabilities: Any) -> tuple[str, ...]:
    """Return the ways in which a client lets its user be asked: `form`, `url`. An empty declaration is a form (2025-06-18)."""
    declared = capabilities.get("elicitation") if isinstance(capabilities, dict) else None
    if not isinstance(declared, dict):
        return ()
    url = ("url",) if isinstance(declared.get("url"), dict) else ()
    return ("form", *url) if isinstance(declared.get("form"), dict) or not url else url


def without_tasks(message: Message) -> None:
    """Take the tasks extension out of what the client declares: an upstream's task would be bound to us, not to its caller."""
    declared = message.meta.get(CAPABILITIES_KEY)
    extensions = declared.get("extensions") if isinstance(declared, dict) else None
    if isinstance(extensions, dict):
        extensions.pop(TASKS, None)


def _check_modern(head: Head, message: Message) -> None:
    if not message.method:
        raise Malformed("this revision has no responses from client to server", rpc=INVALID_REQUEST)
    if message.id is None:
        return
    for key in (VERSION_KEY, CAPABILITIES_KEY):
        if key not in message.meta:
            raise Malformed(f"`params._meta` needs `{key}`", rpc=INVALID_PARAMS, id=message.id)
    if message.meta[VERSION_KEY] != head.version:
        raise _mismatch("MCP-Protocol-Version", message)
    if head.method != message.method:
        raise _mismatch("Mcp-Method", message)
    name = message.params.get(_NAMED.get(message.method, ""))
    if name is not None and _unwrapped(head.name) != name:
        raise _mismatch("Mcp-Name", message)


def _mismatch(header: str, message: Message) -> Malformed:
    return Malformed(f"the header {header} and the body disagree", rpc=HEADER_MISMATCH, id=message.id)


def wrapped(name: str) -> str:
    """Return a name as `Mcp-Name` carries it (2026-07-28, streamable HTTP)."""
    if _PLAIN.fullmatch(name) and not _WRAPPED.fullmatch(name):
        return name
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


def _unwrapped(value: str | None) -> str | None:
    """Return a header's value, `=?base64?…?=` taken off; None where it is missing or broken."""
    wrapped = _WRAPPED.fullmatch(value or "")
    if value is None or wrapped is None:
        return value
    try:
        content = base64.b64decode(wrapped[1], validate=True)
        return content.decode() if base64.b64encode(content).decode() == wrapped[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _short(word: Any) -> str:
    return word[:64] if isinstance(word, str) else ""
