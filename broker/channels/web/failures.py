"""From a mistake to an answer, in one place: a page for people, problem+json (RFC 9457) for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from broker.channels.web.parts import Web, partial
from broker.channels.web.rehearsing import NoSuchRule, NotRehearsed
from broker.channels.web.verdicts import Refusal
from broker.channels.web.visitors import AnyRequest, SignInNeeded, sign_in_path, vouched
from broker.domain.peers import brings_token
from broker.domain.text import sentence
from broker.errors import (
    AlreadyResolved,
    AlreadyReviewed,
    BrokerError,
    EnrolmentRefused,
    Malformed,
    NotEnrolled,
    NotPermitted,
    Outdated,
    PolicyInvalid,
    RecordUnreadable,
    ShownAnother,
    StoreUnavailable,
    TooMany,
    Unauthenticated,
    UnknownRequest,
    UpstreamError,
    VersionConflict,
    WrongMove,
)

log = structlog.get_logger()

_STATUS: dict[type[BrokerError], int] = {
    Unauthenticated: 401,
    NotPermitted: 403,
    UnknownRequest: 404,
    NoSuchRule: 404,
    AlreadyResolved: 409,
    AlreadyReviewed: 409,
    WrongMove: 409,
    Outdated: 409,
    Malformed: 400,
    TooMany: 429,
    Refusal: 422,
    NotRehearsed: 422,
    StoreUnavailable: 503,
    PolicyInvalid: 503,
    RecordUnreadable: 503,
    NotEnrolled: 404,
    EnrolmentRefused: 422,
    ShownAnother: 409,
    VersionConflict: 409,
    UpstreamError: 502,
}

OFFICIAL = "/v0.1/"
# What the official registry's API says by 400: a move that can't be made, and a document that is not taken.
_AS_400 = (409, 422)

_TITLES = {
    400: "That could not be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Nothing here",
    405: "That can't be done here",
    409: "Too late",
    413: "Too large",
    422: "Something is missing",
    429: "Too many at once",
    502: "The server does not answer",
    503: "The broker can't decide anything just now",
}


# Fields of a mistake that a program may act on: who was first, and in which state the request is.
_TOLD = ("request", "state", "by", "verdict", "scope", "problems")


def status_of(error: BrokerError) -> int:
    """Return the HTTP status of a mistake: that of the nearest class that has one."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def on_sign_in_needed(request: AnyRequest, error: SignInNeeded) -> Response[Any]:
    proxied = vouched(request) is not None
    if request.headers.get("hx-request"):
        return Response(b"", status_code=200, headers={"hx-redirect": sign_in_path("/", proxied=proxied)})
    return Redirect(sign_in_path(error.after, proxied=proxied), status_code=303)


def on_broker_error(request: AnyRequest, error: BrokerError) -> Response[Any]:
    status = status_of(error)
    if status == 500:
        log.error("web.unmapped_error", code=error.code)
    told = {name: error.fields[name] for name in _TOLD if name in error.fields}
    return _answer(request, status, error.code, error.message, told)


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What the framework itself refuses: no such route, wrong method, too large a body."""
    status = error.status_code
    return _answer(request, status, f"http_{status}", _TITLES.get(status, "It did not work").lower())


def on_unforeseen(request: AnyRequest, error: Exception) -> Response[Any]:
    log.error("web.failed", path=request.url.path, exc_info=error)
    return _answer(request, 500, "internal", "something went wrong inside the broker: nothing was decided")


def _challenge(request: AnyRequest, status: int, told: Mapping[str, Any]) -> dict[str, str]:
    """What a token would have to be (RFC 6750, section 3)."""
    if status == 401:
        brought = brings_token(request.headers.get("authorization"))
        return {"www-authenticate": 'Bearer error="invalid_token"' if brought else "Bearer"}
    if status == 403 and "scope" in told:
        return {"www-authenticate": f'Bearer error="insufficient_scope", scope="{told["scope"]}"'}
    return {}


def _answer(request: AnyRequest, status: int, code: str, message: str, told: dict[str, Any] | None = None) -> Response[Any]:
    title = _TITLES.get(status, "It did not work")
    headers = _challenge(request, status, told or {})
    if request.url.path.startswith(OFFICIAL):
        return Response({"error": message}, status_code=400 if status in _AS_400 else status, headers=headers)
    if request.url.path.startswith("/api/") or request.headers.get("accept") == "application/json":
        problem = {"type": "about:blank", "title": title, "status": status, "detail": message, "code": code, **(told or {})}
        return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)
    request.scope["state"].setdefault("visitor", None)
    text = sentence(message)
    if partial(request):
        answer: Response[Any] = Web.of(request).page(request, "_failure.html", status=status, title=title, text=text)
        answer.headers["hx-retarget"] = "#failure"
        answer.headers["hx-reswap"] = "innerHTML"
        return answer
    return Web.of(request).page(request, "failure.html", status=status, title=title, text=text, code=code)
