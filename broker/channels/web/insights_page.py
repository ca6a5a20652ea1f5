"""Insights: what was asked, how people decided, how long it took, and what a security team may want to change."""

from __future__ import annotations

from litestar import Response, get

from broker.channels.web.charts import by_day
from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest, visitor
from broker.insights.advice import advice


@get("/insights", include_in_schema=False)
async def insights(request: AnyRequest) -> Response[str]:
    web = Web.of(request)
    web.member(visitor(request))
    found = web.bookkeeper.figures()
    sums = {
        name: sum(getattr(day, name) for day in found.days)
        for name in ("allowed", "denied", "asked", "approved", "rejected", "expired")
    }
    rules = sorted((rule for rule in found.rules if rule.hits), key=lambda rule: (-rule.asked, -rule.hits, rule.rule))
    chart = by_day(found.days, web.now().date())
    return web.page(request, "insights.html", found=found, sums=sums, rules=rules, chart=chart, advice=advice(found))


ROUTES = (insights,)
