"""The official registry's API, `/v0.1` (2025-12-01): what MCP clients read to find servers, and owners publish to.

Reads answer browsers of other origins, as VS Code and GitHub Copilot need; no cookie counts here. A version never changes, so
nothing replaces or deletes one: its status says that it is deprecated or deleted. (`headers.secured` adds CORS.)
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.params import FromPath

from broker.channels.web.parts import Web
from broker.channels.web.readers import actor_of, base_of, namespace_of, reader_of
from broker.channels.web.visitors import AnyRequest
from broker.errors import UNREADABLE, Malformed, NotEnrolled
from broker.registry import pages
from broker.registry.official import Item, Reader, declared_item, items_of

_OPEN: dict[str, Any] = {"anonymous": True}
_SERVERS = "/v0.1/servers"
_VERSIONS = "/v0.1/servers/{space:str}/{name:str}/versions"
_VERSION = "/v0.1/servers/{space:str}/{name:str}/versions/{version:str}"
_STATUSES = ("active", "deprecated", "deleted")
MOST_MESSAGE = 500


@get(_SERVERS, opt=_OPEN, tags=["registry"])
async def servers(request: AnyRequest) -> dict[str, Any]:
    """List servers, an item for each version. Query: cursor, limit, search, updated_since, version, include_deleted."""
    wanted = pages.Wanted.read(request.query_params)
    page = pages.page_of(await items_told(request, await reader_of(request)), wanted)
    return _listed(page.items, page.cursor)


@get(_VERSIONS, opt=_OPEN, tags=["registry"])
async def versions(request: AnyRequest, space: FromPath[str], name: FromPath[str]) -> dict[str, Any]:
    """List the versions of one server, the newest first."""
    deleted = pages.flag(request.query_params.get("include_deleted", ""))
    found = pages.versions_of(await items_told(request, await reader_of(request)), f"{space}/{name}", deleted=deleted)
    if not found:
        raise NotEnrolled("there is no such server")
    return _listed(found)


@get(_VERSION, opt=_OPEN, tags=["registry"])
async def version(request: AnyRequest, space: FromPath[str], name: FromPath[str], version: FromPath[str]) -> dict[str, Any]:
    """Return one version; `latest` is the highest."""
    deleted = pages.flag(request.query_params.get("include_deleted", ""))
    found = pages.versions_of(await items_told(request, await reader_of(request)), f"{space}/{name}", deleted=deleted)
    one = next((item for item in found if (item.latest if version == "latest" else item.version == version)), None)
    if one is None:
        raise NotEnrolled("there is no such server or version")
    return dict(one.body)


@post("/v0.1/publish", status_code=200, opt=_OPEN, tags=["registry"])
async def publish(request: AnyRequest) -> dict[str, Any]:
    """Enrol a server, or publish a version of one. Body: its server.json. Needs a personal token with the scope `servers`."""
    actor = await actor_of(request, "servers")
    document = await _json(request)
    after = await Web.of(request).parts.registry.enrolling.publish(document, actor)
    return await _one(request, after.name, after.versions[-1].version)


@patch(f"{_VERSION}/status", opt=_OPEN, tags=["registry"])
async def mark(request: AnyRequest, space: FromPath[str], name: FromPath[str], version: FromPath[str]) -> dict[str, Any]:
    """Set one version's status: active, deprecated or deleted."""
    actor = await actor_of(request, "servers")
    status, message = _status(await _json(request))
    after = await Web.of(request).parts.registry.enrolling.mark(f"{space}/{name}", [version], status, message, actor)
    return await _one(request, after.name, version)


@patch(f"{_SERVERS}/{{space:str}}/{{name:str}}/status", opt=_OPEN, tags=["registry"])
async def mark_all(request: AnyRequest, space: FromPath[str], name: FromPath[str]) -> dict[str, Any]:
    """Set the status of every version at once."""
    actor = await actor_of(request, "servers")
    status, message = _status(await _json(request))
    after = await Web.of(request).parts.registry.enrolling.mark(f"{space}/{name}", None, status, message, actor)
    changed = {one.version for one in after.versions if one.updated_at == after.changed_at}
    found = pages.versions_of(await items_told(request, await reader_of(request)), after.name, deleted=True)
    told = [dict(item.body) for item in found if item.version in changed]
    return {"updatedCount": len(told), "servers": told}


@put(_VERSION, opt=_OPEN, include_in_schema=False)
async def replace(request: AnyRequest, space: FromPath[str], name: FromPath[str], version: FromPath[str]) -> Response[Any]:
    await actor_of(request, "servers")
    return _never()


@delete(_VERSION, status_code=501, opt=_OPEN, include_in_schema=False)
async def remove(request: AnyRequest, space: FromPath[str], name: FromPath[str], version: FromPath[str]) -> Response[Any]:
    await actor_of(request, "servers")
    return _never()


async def items_told(request: AnyRequest, reader: Reader) -> list[Item]:
    """Everything that this reader is told of, as the store has it now."""
    parts, base = Web.of(request).parts, base_of(request)
    await parts.registry.declarations.note()
    roster, declared = parts.registry.roster, parts.registry.enrolling.declared()
    found = [item for one in roster.enrolments.values() for item in items_of(one, reader, base, parts.offers.live(one.local))]
    space = namespace_of(request)
    files = (
        declared_item(name, held, declared.get(name), space, reader, base, parts.offers.live(name))
        for name, held in roster.declared.items()
    )
    return [*found, *(item for item in files if item is not None)]


async def _one(request: AnyRequest, name: str, version: str) -> dict[str, Any]:
    found = pages.versions_of(await items_told(request, await reader_of(request)), name, deleted=True)
    return dict(next(item for item in found if item.version == version).body)


def _listed(items: Any, cursor: str = "") -> dict[str, Any]:
    told = [item.body for item in items]
    return {"servers": told, "metadata": {"count": len(told), **({"nextCursor": cursor} if cursor else {})}}


async def _json(request: AnyRequest) -> Any:
    try:
        return msgspec.json.decode(await request.body())
    except UNREADABLE:
        raise Malformed("the body is no JSON") from None


def _status(body: Any) -> tuple[str, str]:
    """Read a status and its message. Raises `Malformed`."""
    told = body if isinstance(body, dict) else {}
    status, message = told.get("status"), told.get("statusMessage", "")
    if status not in _STATUSES or not isinstance(message, str) or len(message) > MOST_MESSAGE:
        raise Malformed(f"`status` is one of {', '.join(_STATUSES)}, `statusMessage` has at most {MOST_MESSAGE} characters")
    return status, message


def _never() -> Response[Any]:
    return Response({"error": "a published version never changes: set its status instead"}, status_code=501)


ROUTES = (servers, versions, version, publish, mark, mark_all, replace, remove)
