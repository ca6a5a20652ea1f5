"""The web app: routes, who is there, and how mistakes are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from broker.channels.web import (
    account,
    api,
    audit_api,
    authz_api,
    batch_page,
    batches_api,
    call_file,
    conversation,
    failures,
    feedback_page,
    files,
    health_page,
    history,
    hooks_api,
    inbox,
    insights_page,
    live,
    official_api,
    policy_edit,
    policy_page,
    receipt_file,
    request_page,
    servers_api,
    servers_moves,
    servers_page,
    sign_in,
    sign_in_oidc,
    stats_api,
    stop_page,
    validate_api,
    why_page,
)
from broker.channels.web.parts import Web, WebParts
from broker.channels.web.visitors import SignInNeeded, Visitors
from broker.errors import BrokerError

BODY_LIMIT = 64 << 10


def web_app(parts: WebParts) -> Litestar:
    """Return the web app. Wrap it in `headers.secured`; its lifespan runs what works in the background."""
    web = Web(parts)

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        async with web.board.running(), web.archivist.running(), web.bookkeeper.running(), web.watchman.running():
            yield

    return Litestar(
        [
            *inbox.ROUTES, *batch_page.ROUTES, *history.ROUTES, *request_page.ROUTES, *why_page.ROUTES, *feedback_page.ROUTES,
            *conversation.ROUTES, *call_file.ROUTES,
            *receipt_file.ROUTES, *live.ROUTES, *sign_in.ROUTES, *sign_in_oidc.ROUTES, *account.ROUTES,
            *insights_page.ROUTES, *policy_page.ROUTES, *policy_edit.ROUTES,
            *servers_page.ROUTES, *health_page.ROUTES, *stop_page.ROUTES, *files.ROUTES, api.Api, *batches_api.ROUTES,
            *official_api.ROUTES, *servers_api.ROUTES, *servers_moves.ROUTES,
            *hooks_api.ROUTES, *validate_api.ROUTES, *audit_api.ROUTES, *stats_api.ROUTES,
            *(authz_api.ROUTES if parts.forecasts and parts.callers else ()),
        ],
        middleware=[Visitors(parts.sessions, parts.proxy, web.jar, parts.public_url)],
        exception_handlers={
            SignInNeeded: failures.on_sign_in_needed,
            BrokerError: failures.on_broker_error,
            HTTPException: failures.on_http_error,
            Exception: failures.on_unforeseen,
        },
        lifespan=[running],
        state=State({"web": web}),
        request_max_body_size=BODY_LIMIT,
        openapi_config=OpenAPIConfig(
            title="Approval broker", version="1", path="/api/v1/schema", render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            description="Requests that wait for people. Every call carries a personal token: `Authorization: Bearer …`.",
        ),
        logging_config=None,
    )  # fmt: skip
