"""Every route, asked by people who should not get in: the table has to name each route there is, so that none is forgotten.

`STRANGER` is not signed in; `OUTSIDER` is, and is in no group; `TOKEN` is their personal token.
"""

from __future__ import annotations

import re

import httpx2
import pytest
from litestar.routes import HTTPRoute

from broker.channels.web.app import web_app
from broker.domain.requests import RequestState
from broker.domain.terms import Actor
from tests.channels.web.conftest import ANN, Site
from tests.fakes.server_json import server_json

NOBODY = "nobody@example.com"
SECRET = "Pay the ransom"

PUBLIC = {
    "GET /sign-in", "POST /sign-in", "GET /sign-in/{secret:str}", "GET /sign-in/with/{provider:str}",
    "GET /sign-in/with/{provider:str}/back", "GET /sign-in/proxy", "GET /health/banner",
    "GET /static/{name:path}", "GET /sw.js",
    "GET /api/v1/schema/openapi.json", "GET /api/v1/schema", "GET /api/v1/schema/{path:str}",
}  # fmt: skip
"""For everybody: names nothing and nobody."""

OWN = {
    "GET /": 200, "GET /inbox/list": 200, "GET /history": 200, "GET /history/export/{form:str}": 200, "GET /live": 200,
    "GET /account": 200, "POST /account/sessions/end": 303, "POST /account/passkeys/begin": 200, "POST /account/passkeys": 403,
    "POST /account/devices": 400, "POST /account/devices/remove": 303, "POST /account/passkeys/remove": 303,
    "POST /sign-out": 303, "POST /account/feedback": 303, "POST /account/results": 404,
}  # fmt: skip
"""For whoever is signed in: their own things, with what an outsider gets."""

ABOUT_REQUESTS = {
    "GET /r/{request_id:str}", "GET /r/{request_id:str}/receipt", "GET /r/{request_id:str}/call",
    "GET /r/{request_id:str}/looking", "GET /r/{request_id:str}/why", "POST /r/{request_id:str}/review",
    "POST /r/{request_id:str}/passkey", "POST /r/{request_id:str}/record", "POST /r/{request_id:str}/uncover",
    "POST /r/{request_id:str}/comment", "POST /r/{request_id:str}/confirm",
    "POST /r/{request_id:str}/feedback", "GET /batch/{request_id:str}", "POST /batch/{request_id:str}",
    "GET /batch/{request_id:str}/news",
}  # fmt: skip
"""About one request: for outsiders there is none."""

FOR_MEMBERS = {
    "GET /policies", "GET /servers", "GET /insights", "GET /health", "GET /policies/rules/{rule:str}",
    "POST /policies/rules/{rule:str}", "POST /policies/rules/{rule:str}/patch", "GET /servers/{name:str}", "GET /enrol",
    "POST /enrol", "POST /servers/{name:str}/moves", "POST /servers/{name:str}/reviews", "POST /servers/{name:str}/tools",
    "POST /health/stops", "POST /health/stops/lift",
}  # fmt: skip
"""About the broker: for members of its groups."""

API = {
    "GET /api/v1/me": 200, "GET /api/v1/requests": 200, "GET /api/v1/watch": 200, "GET /api/v1/usage": 403,
    "GET /api/v1/audit": 200, "GET /api/v1/stats": 403,
    "POST /api/v1/batches/reviews": 200,
}  # fmt: skip
API_ABOUT_REQUESTS = {
    "GET /api/v1/requests/{request_id:str}": None,
    "GET /api/v1/requests/{request_id:str}/receipt": None,
    "POST /api/v1/requests/{request_id:str}/reviews": {"verdict": "approve", "digest": "DIGEST"},
    "POST /api/v1/requests/{request_id:str}/comments": {"text": "hello"},
    "POST /api/v1/requests/{request_id:str}/record": {"ran": True, "why": "x"},
}
_SERVER, _VERSION = "{space:str}/{name:str}", "{space:str}/{name:str}/versions/{version:str}"
REGISTRY = {
    "GET /v0.1/servers": 200, f"GET /v0.1/servers/{_SERVER}/versions": 404, f"GET /v0.1/servers/{_VERSION}": 404,
    f"GET /api/v1/servers/{_SERVER}": 404,
}  # fmt: skip
"""With what an outsider's token gets: it may read, and there is nothing."""

REGISTRY_MOVES: dict[str, object] = {
    "POST /v0.1/publish": {}, f"PATCH /v0.1/servers/{_VERSION}/status": {"status": "deleted"},
    f"PATCH /v0.1/servers/{_SERVER}/status": {"status": "deleted"}, f"PUT /v0.1/servers/{_VERSION}": {},
    f"DELETE /v0.1/servers/{_VERSION}": {}, f"POST /api/v1/servers/{_SERVER}/submit": {},
    f"POST /api/v1/servers/{_SERVER}/{{move:str}}": {},
    f"POST /api/v1/servers/{_SERVER}/reviews": {"slot": "security", "state": "approved", "digest": "x"},
    "POST /api/validate": {"name": "x"},
}  # fmt: skip
"""What moves a server: refused without the scope `servers`, and for servers of others. `validate` only tells."""

SIGNED = {"POST /api/hooks/reviews"}
"""Known by its signature alone."""

KNOWN = (
    PUBLIC
    | SIGNED
    | REGISTRY.keys()
    | REGISTRY_MOVES.keys()
    | OWN.keys()
    | ABOUT_REQUESTS
    | FOR_MEMBERS
    | API.keys()
    | API_ABOUT_REQUESTS.keys()
)
EVERYTHING = {
    "verdict": "approve", "ran": "yes", "why": "x", "path": "$['args']['amount']", "comment": "hello", "session": "none",
    "minutes": "30", "ask": "no",
}  # fmt: skip
"""A form that every route would take."""


def routes_of(site: Site) -> set[str]:
    routes = [route for route in web_app(site.parts).routes if isinstance(route, HTTPRoute)]
    return {f"{method} {route.path}" for route in routes for method in route.methods - {"OPTIONS", "HEAD"}}


async def sent(client: httpx2.AsyncClient, route: str, request_id: str, form: dict[str, str] | None = None) -> tuple[int, str]:
    """Send what the route wants, with a request's id in its place; of a stream only the beginning is read."""
    method, path = route.split(" ")
    address = re.sub(r"{request_id[^}]*}", request_id, path).replace("{form:str}", "csv")
    async with client.stream(method, re.sub(r"{[^}]+}", "x", address), data=form) as answer:
        endless = path.endswith(("/live", "/watch"))
        text = "" if endless else (await answer.aread()).decode(errors="replace")
        return answer.status_code, text


async def test_every_route_is_in_the_table(site: Site) -> None:
    assert routes_of(site) == KNOWN


async def test_a_stranger_gets_nothing_but_the_sign_in(site: Site) -> None:
    request, stranger = await site.park(SECRET), site.stranger()
    await site.listed(await site.visitor(ANN), SECRET)
    for route in sorted(KNOWN - PUBLIC):
        status, text = await sent(stranger, route, request.id)
        assert (status, SECRET in text) == (401 if "/api/" in route or "/v0.1/" in route else 303, False), (route, text)
    assert await site.state(request) is RequestState.PENDING


async def test_an_outsider_finds_no_request_and_nothing_about_the_broker(site: Site) -> None:
    request = await site.park(SECRET)
    await site.listed(await site.visitor(ANN), SECRET)
    expected = OWN | dict.fromkeys(ABOUT_REQUESTS, 404) | dict.fromkeys(FOR_MEMBERS, 403)
    for route, status in sorted(expected.items()):
        outsider = await site.visitor(NOBODY)
        form = EVERYTHING | {"csrf": await site.csrf(outsider), "digest": request.digest}
        got, text = await sent(outsider, route, request.id, form if route.startswith("POST") else None)
        assert (got, SECRET in text) == (status, False), route
    after = await site.store.requests.get(request.id)
    assert (after.state, after.comments, after.version) == (RequestState.PENDING, (), request.version)


async def test_an_outsiders_token_finds_no_request(site: Site) -> None:
    request = await site.park(SECRET)
    outsider = await site.api(NOBODY)
    for route, body in API_ABOUT_REQUESTS.items():
        method, path = route.split(" ")
        told = {name: request.digest if value == "DIGEST" else value for name, value in body.items()} if body else None
        answer = await outsider.request(method, path.replace("{request_id:str}", request.id), json=told)
        assert (answer.status_code, answer.json()["code"], SECRET in answer.text) == (404, "unknown_request", False), route
    assert SECRET not in (await outsider.get("/api/v1/requests")).text
    assert await site.state(request) is RequestState.PENDING


async def test_an_outsiders_token_moves_no_server(site: Site) -> None:
    await site.parts.registry.enrolling.publish(server_json(), Actor(ANN, ("payments",)))
    outsider, unscoped = await site.api(NOBODY, "read", "review", "servers"), await site.api(NOBODY, "read")
    paths = {"{space:str}": "com.example", "{name:str}": "payments", "{version:str}": "1.0.0", "{move:str}": "retire"}
    for route, body in REGISTRY_MOVES.items():
        method, path = route.split(" ")
        for pattern, value in paths.items():
            path = path.replace(pattern, value)
        got = await outsider.request(method, path, json=body)
        expected = {"PUT": 501, "DELETE": 501}.get(method, 200 if "validate" in path else 400 if "publish" in path else 403)
        assert got.status_code in (expected, 409), (route, got.text)
        assert (await unscoped.request(method, path, json=body)).status_code == (200 if "validate" in path else 403), route
    (after,) = site.parts.registry.roster.enrolments.values()
    assert after.number == 1


@pytest.mark.parametrize("route", sorted(API.keys() | API_ABOUT_REQUESTS.keys() | REGISTRY.keys() | REGISTRY_MOVES.keys()))
async def test_a_session_opens_no_route_of_the_api(site: Site, route: str) -> None:
    ann = await site.visitor(ANN)
    status, _ = await sent(ann, route, "apr_0_" + "0" * 26)
    assert status == 401
