"""What people say to each other beside a request, and who else looks at it just now."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from broker.channels.web.detail import lookers, seen
from broker.channels.web.parts import Web, reviewer
from broker.channels.web.request_page import again, done
from broker.channels.web.verdicts import comment
from broker.channels.web.visitors import AnyRequest, posted, visitor
from broker.errors import BrokerError


@post("/r/{request_id:str}/comment", status_code=200, include_in_schema=False)
async def add_comment(request: AnyRequest, request_id: FromPath[str]) -> Response[str] | Redirect:
    """Add a comment. What can't be added comes back with the page."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    text = form.get("comment", "")
    try:
        await comment(web, found, reviewer(who), text)
    except BrokerError as error:
        return await again(request, web, who, found, error, text, of="comment_draft")
    return await done(request, web, who, found)


@get("/r/{request_id:str}/looking", include_in_schema=False)
async def looking(request: AnyRequest, request_id: FromPath[str]) -> Response[str]:
    """Say that the page is still open, and show who else has it open. It decides nothing and is kept for seconds."""
    web, who = Web.of(request), visitor(request)
    found = await seen(web, who, request_id)
    return web.page(request, "_lookers.html", lookers=await lookers(web, who, found.id))


ROUTES = (add_comment, looking)
