"""A server.json of the official registry, as far as people may enrol one here: an address, and nothing that would run or open.

The rules are those of the official registry's API 2025-12-01 and schema 2025-12-11. Beyond them nothing is taken that could
become code, or a secret of this machine, or an address that only this machine can reach: those belong into servers.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

PUBLISHER = "io.modelcontextprotocol.registry/publisher-provided"
# Bytes of what a publisher may add of its own (official requirements), and of a whole document.
MOST_EXTRAS, MOST = 4_096, 64 << 10

_NAME = re.compile(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+")
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RANGE = re.compile(r"[\^~<>=|*]|\s-\s|(^|\.)[xX](\.|$)")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_REFERENCE = re.compile(r"\s*(env|file|cmd|command|exec|secret|vault|op):", re.I)
_KNOWN = ("$schema", "name", "title", "description", "version", "repository", "websiteUrl", "icons", "remotes", "_meta")
_DANGEROUS = {
    "packages": "packages would be run on this machine",
    "command": "a command would be run on this machine",
    "env": "variables belong to a command",
    "headers": "credentials of the broker are given in files only",
    "cwd": "a folder belongs to a command",
}
_FILES = "declare the server in servers.yaml"


def problems(document: Any) -> tuple[str, ...]:
    """Return everything that is wrong with a document, a sentence each; nothing where it can be enrolled."""
    if not isinstance(document, dict):
        return ("a server.json is an object",)
    try:
        if len(msgspec.json.encode(document)) > MOST:
            return (f"a server.json has at most {MOST} bytes",)
    except (ValueError, TypeError, RecursionError, UnicodeEncodeError):
        return ("the document holds what JSON can't",)
    return tuple(dict.fromkeys(_problems(document)))


def trimmed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as it is kept: of its `_meta` only what publishers may set."""
    kept = {name: value for name, value in document.items() if name != "_meta"}
    extras = document.get("_meta", {}).get(PUBLISHER)
    return {**kept, "_meta": {PUBLISHER: extras}} if extras is not None else kept


def _problems(document: dict[str, Any]) -> Iterator[str]:
    for member, why in _DANGEROUS.items():
        if member in document:
            yield f"`{member}` is not taken: {why}; {_FILES}"
    for member in document.keys() - {*_KNOWN, *_DANGEROUS}:
        yield f"`{member[:60]}` is no member of a server.json"
    yield from _naming(document)
    yield from _texts(document)
    yield from _remotes(document.get("remotes"))
    yield from _extras(document.get("_meta"))
    yield from _references("", {name: value for name, value in document.items() if name not in ("description", "title")})


def _naming(document: dict[str, Any]) -> Iterator[str]:
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not 3 <= len(name) <= 200 or not _NAME.fullmatch(name):
        yield "`name` has to be like com.example/payments: a reverse domain, one slash, a name"
    elif not _LOCAL.fullmatch(name.partition("/")[2]):
        yield "the part of `name` after the slash is the server's name here: at most 64 letters, digits, dot, - and _"
    if not isinstance(version, str) or len(version) > 255:
        yield "`version` is missing: write one such as 1.0.0"
    elif _RANGE.search(version):
        yield f"`version` {version[:40]} is a range: name one version"
    elif not _VERSION.fullmatch(version):
        yield f"`version` {version[:40]} is no semantic version such as 1.0.0 or 1.1.0-rc.1"


def _texts(document: dict[str, Any]) -> Iterator[str]:
    description, title = document.get("description"), document.get("title", "a title")
    if not isinstance(description, str) or not 1 <= len(description) <= 100:
        yield "`description` has to have 1 to 100 characters"
    if not isinstance(title, str) or not 1 <= len(title) <= 100:
        yield "`title` has 1 to 100 characters"
    for member in ("$schema", "websiteUrl"):
        if not _web(document.get(member, "https://example.com")):
            yield f"`{member}` is no https or http address"
    repository = document.get("repository", {"url": "https://example.com", "source": "git"})
    if not isinstance(repository, dict) or not _web(repository.get("url")) or not isinstance(repository.get("source"), str):
        yield "`repository` needs `url` and `source`"
    icons = document.get("icons", [])
    if not isinstance(icons, list) or not all(isinstance(icon, dict) and _icon(icon.get("src")) for icon in icons):
        yield "each of `icons` needs a `src` that is an https address of at most 255 characters"


def _remotes(remotes: Any) -> Iterator[str]:
    if not isinstance(remotes, list) or not remotes or not all(isinstance(remote, dict) for remote in remotes):
        yield "`remotes` has to name the address of the running server; what has no address is declared in servers.yaml"
        return
    if not any(remote.get("type") == "streamable-http" for remote in remotes):
        yield "one of `remotes` has to be of the type streamable-http"
    for remote in remotes:
        if remote.get("type") not in ("streamable-http", "sse"):
            yield "the type of a remote is streamable-http or sse"
        if remote.get("headers") or remote.get("variables"):
            yield f"a remote with `headers` or `variables` is not taken: enrolled servers get no credentials; {_FILES}"
        if not address(remote.get("url")):
            yield "the `url` of a remote is an http or https address without user, password, fragment, query and {variables}"


def _extras(meta: Any) -> Iterator[str]:
    if meta is None:
        return
    if not isinstance(meta, dict):
        yield "`_meta` is an object"
    elif len(msgspec.json.encode(meta.get(PUBLISHER, {}))) > MOST_EXTRAS:
        yield f"`_meta` of a publisher has at most {MOST_EXTRAS} bytes"


def _references(where: str, value: Any) -> Iterator[str]:
    """Nothing may look like a reference to a secret: no later reader of the document could take it for one."""
    if isinstance(value, str) and _REFERENCE.match(value):
        yield f"`{where}` refers to a secret or a command of this machine: that is taken from files only"
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _references(f"{where}.{name}".lstrip("."), member)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _references(f"{where}[{number}]", member)


def address(url: Any) -> bool:
    """Is it an address that calls could be sent to, and nothing else?"""
    if not isinstance(url, str) or len(url) > 2_000 or re.search(r"[\x00-\x20\\{}<>\"\x7f]", url) or not url.isascii():
        return False
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return good and "@" not in parts.netloc and not parts.fragment and not parts.query and "#" not in url


def _web(url: Any) -> bool:
    return isinstance(url, str) and len(url) <= 2_000 and re.fullmatch(r"https?://[^\s\\\"<>]+", url) is not None


def _icon(src: Any) -> bool:
    return _web(src) and len(src) <= 255 and str(src).startswith("https://")
