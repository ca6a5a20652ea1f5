"""Insights: what was asked, how people decided, how long it took, what use there was, and what one may want to change."""

from __future__ import annotations

import re
from datetime import date, timedelta

import anyio
from litestar import Response, get
from litestar.params import FromQuery

from broker.channels.web.charts import by_day, of_month
from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest, visitor
from broker.errors import Malformed
from broker.insights.advice import advice
from broker.insights.usage import Usage, month_of

# The months of the roll-up, the chosen one and those before it.
MONTHS = 6
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)


@get("/insights", include_in_schema=False)
async def insights(request: AnyRequest, month: FromQuery[str] = "") -> Response[str]:
    """The decisions of the last 30 days, and the use of one month (`?month=2026-11`, this one if empty) beside those before."""
    web = Web.of(request)
    web.member(visitor(request))
    found, months = web.bookkeeper.figures(), await rolled_up(web, month)
    sums = {
        name: sum(getattr(day, name) for day in found.days)
        for name in ("allowed", "denied", "asked", "approved", "rejected", "expired")
    }
    rules = sorted((rule for rule in found.rules if rule.hits), key=lambda rule: (-rule.asked, -rule.hits, rule.rule))
    return web.page(
        request, "insights.html", found=found, sums=sums, rules=rules, chart=by_day(found.days, web.now().date()),
        advice=advice(found), use=months[0], months=months, calls=of_month(months[0]),
    )  # fmt: skip


async def rolled_up(web: Web, month: str) -> list[Usage]:
    """Return the use of a month and of those before it. Raises `Malformed` for what is no month."""
    first = checked(month, web.now().date())
    names = [month_of(first)]
    while len(names) < MONTHS:
        first = (first - timedelta(days=1)).replace(day=1)
        names.append(month_of(first))
    found: dict[str, Usage] = {}

    async def one(name: str) -> None:
        found[name] = await web.parts.usage.month(name)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    return [found[name] for name in names]


def checked(month: str, today: date) -> date:
    """Return the first day of a month as it is written; of this one if nothing is. Raises `Malformed`."""
    if not month:
        return today.replace(day=1)
    if not _MONTH.fullmatch(month) or month < "0001-02":
        raise Malformed("a month is written like 2026-11")
    return date(int(month[:4]), int(month[5:]), 1)


ROUTES = (insights,)
