"""Signing in at an identity provider: out to it, and back with its answer."""

from __future__ import annotations

from litestar import Response, get
from litestar.datastructures import Cookie
from litestar.params import FromPath
from litestar.response import Redirect

from broker.channels.web.parts import Web
from broker.channels.web.sign_in import refused, welcome
from broker.channels.web.visitors import AnyRequest, address_of, origin_of, safe_path
from broker.errors import Unauthenticated

ROUND = 600


@get("/sign-in/with/{provider:str}", include_in_schema=False)
async def leave(request: AnyRequest, provider: FromPath[str]) -> Response[str] | Redirect:
    """Send the browser to the provider. A cookie binds its answer to this browser."""
    web = Web.of(request)
    after = safe_path(request.query_params.get("after", "/"))
    redirect = f"{origin_of(request, web.parts.public_url)}/sign-in/with/{provider}/back"
    try:
        started = await web.parts.oidc.begin(provider, redirect, after)
    except Unauthenticated as error:
        return refused(request, web, error, after)
    return Redirect(started.url, status_code=303, cookies=[_binding(web, started.binding, ROUND)])


@get("/sign-in/with/{provider:str}/back", include_in_schema=False)
async def back(request: AnyRequest, provider: FromPath[str]) -> Response[str] | Redirect:
    """Take the provider's answer, and begin a session under a fresh id."""
    web = Web.of(request)
    answer = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    try:
        arrived = await web.parts.oidc.finish(provider, answer, request.cookies.get(_name(web), ""))
    except Unauthenticated as error:
        return refused(request, web, error, "/")
    begun = await web.parts.sessions.start(
        arrived.person, how=provider, groups=arrived.groups, software=request.headers.get("user-agent", ""),
        address=address_of(request), instead=web.jar.read(request),
    )  # fmt: skip
    return await welcome(request, web, begun, provider, safe_path(arrived.after), _binding(web, "", 0))


def _name(web: Web) -> str:
    return "__Host-broker-round" if web.jar.https else "broker-round"


def _binding(web: Web, value: str, lasts: int) -> Cookie:
    return Cookie(key=_name(web), value=value, path="/", max_age=lasts, secure=web.jar.https, httponly=True, samesite="lax")


ROUTES = (leave, back)
