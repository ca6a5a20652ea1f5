"""How much one server is used, and what people say that its results save them, for its page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import msgspec

from broker.channels.web.parts import Web
from broker.insights.feedback import Opinion, opinions
from broker.insights.usage import Lately, ServerUse, month_of

# Months back from this one whose answers count on a server's page.
ANSWERS = 3


class Use(msgspec.Struct, frozen=True):
    """The use of a server in the calendar month, None without a call, and in the last 30 days."""

    month: str
    monthly: ServerUse | None
    lately: Lately


async def usage_values(web: Web, server: str) -> tuple[Use, Mapping[str, Opinion]]:
    """Return the use of a server, and people's opinions by tool. Raises `StoreUnavailable`."""
    today = web.now().date()
    month = await web.parts.usage.month(month_of(today))
    use = Use(
        month.month,
        next((one for one in month.servers if one.server == server), None),
        await web.parts.usage.lately(server, today),
    )
    found = opinions(await web.parts.usage.said(_months(today)))
    return use, {tool: opinion for (name, tool), opinion in found.items() if name == server}


def _months(last: date) -> tuple[str, ...]:
    found: list[str] = []
    day = last
    while len(found) < ANSWERS:
        found.append(month_of(day))
        day = day.replace(day=1) - timedelta(days=1)
    return tuple(found)
