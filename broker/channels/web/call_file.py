"""The whole call of a request as a file, for whoever may see the request: a page shows only so much of a large one."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath

from broker.channels.web.detail import seen, shown_to
from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.canonical import canonical
from broker.domain.redaction import Shown
from broker.domain.requests import ApprovalRequest
from broker.domain.text import indented


@get("/r/{request_id:str}/call", include_in_schema=False)
async def call_file(request: AnyRequest, request_id: FromPath[str]) -> Response[bytes]:
    """The call as this person may see it, to be saved. Raises `UnknownRequest`."""
    web, who = Web.of(request), visitor(request)
    found = await seen(web, who, request_id)
    headers = {"content-disposition": f'attachment; filename="{found.id}.json"'}
    return Response(written(found, shown_to(web, who, found)), media_type="application/json", headers=headers)


def written(found: ApprovalRequest, shown: Shown) -> bytes:
    """Return the call as JSON. Where nothing is covered its SHA-256 is the request's digest, so that anybody can check it."""
    call = {"server": found.call.server, "tool": found.call.tool, "arguments": shown.arguments, "rest": shown.rest}
    return indented(call).encode() if shown.masked else canonical(call)


ROUTES = (call_file,)
