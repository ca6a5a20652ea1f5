"""Health: what the broker itself finds wrong with the store, the policy, its channels and its seals; its replicas."""

from __future__ import annotations

from litestar import Response, get

from broker.channels.web.parts import Web
from broker.channels.web.stop_page import LONGEST, shown
from broker.channels.web.visitors import AnyRequest, visitor


@get("/health", include_in_schema=False)
async def health(request: AnyRequest) -> Response[str]:
    web, who = Web.of(request), visitor(request)
    web.member(who)
    findings = [finding async for finding in web.parts.checkup()]
    behind = await web.parts.audit.last() - await web.projection.place()
    replicas = web.parts.vitals.replicas()
    return web.page(
        request, "health.html", findings=findings, behind=behind, open=len(web.board.rows()), replicas=replicas,
        agreed=len({one.policy for one in replicas}) <= 1, deliveries=await web.parts.vitals.deliveries(),
        stops=await shown(web, who), asked=request.query_params.get("agent", "")[:LONGEST],
    )  # fmt: skip


ROUTES = (health,)
