"""The inbox: what waits for me, what my groups are asked, what my agents asked, and all that I may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from litestar import Response, get

from broker.channels.web.board import Row
from broker.channels.web.detail import detail_values
from broker.channels.web.parts import Web
from broker.channels.web.standing import sees
from broker.channels.web.views import STATES
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.requests import RequestState
from broker.errors import UnknownRequest

AT_ONCE = 100
# So many of the same kind are folded into one.
ALIKE = 4


class Lens(StrEnum):
    """Which requests a list shows."""

    MINE = "mine"
    GROUPS = "groups"
    ASKED = "asked"
    ALL = "all"


class Filter(msgspec.Struct, frozen=True):
    """A list as its address names it."""

    lens: Lens = Lens.MINE
    server: str = ""
    severity: str = ""
    text: str = ""

    @property
    def query(self) -> str:
        """The filter as a query string with its question mark, empty for the plain inbox."""
        told = {"view": self.lens.value if self.lens is not Lens.MINE else "", "server": self.server,
                "severity": self.severity, "q": self.text}  # fmt: skip
        kept = urlencode({name: value for name, value in told.items() if value})
        return f"?{kept}" if kept else ""

    def keeps(self, row: Row) -> bool:
        words = self.text.casefold()
        return (
            (not self.server or row.server == self.server)
            and (not self.severity or row.severity == self.severity)
            and (not words or words in f"{row.title} {row.server} {row.tool} {row.agent}".casefold())
        )


def filter_of(request: AnyRequest) -> Filter:
    """Read the filter of an address; a lens that does not exist is the first one."""
    asked = request.query_params
    lens = asked.get("view", "")
    return Filter(
        lens=Lens(lens) if lens in tuple(Lens) else Lens.MINE,
        server=asked.get("server", ""),
        severity=asked.get("severity", ""),
        text=asked.get("q", "")[:200],
    )


class Item(msgspec.Struct, frozen=True):
    """One row as the list shows it."""

    row: Row
    state: str
    reviewed: bool
    own: bool


class Bunch(msgspec.Struct, frozen=True):
    """Requests of one agent for one tool, one after the other in the list: shown as one where there are many."""

    items: tuple[Item, ...]

    @property
    def folded(self) -> bool:
        return len(self.items) >= ALIKE

    @property
    def labels(self) -> tuple[str, ...]:
        """The decisive fields that are not the same in all."""
        told = [dict(item.row.fields) for item in self.items]
        named = dict.fromkeys(label for fields in told for label in fields)
        return tuple(label for label in named if len({fields.get(label) for fields in told}) > 1)

    def values(self, item: Item) -> tuple[str, ...]:
        """What an item has in these fields, in their order."""
        fields = dict(item.row.fields)
        return tuple(fields.get(label, "") for label in self.labels)


def bunches(items: Sequence[Item]) -> tuple[Bunch, ...]:
    """Return the items, those alike together, at the place of the first of them."""
    together: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        row = item.row
        together.setdefault((row.agent, row.server, row.tool, row.severity.value, row.state.value), []).append(item)
    found: list[Bunch] = []
    for alike in together.values():
        found += [Bunch(tuple(alike))] if len(alike) >= ALIKE else [Bunch((item,)) for item in alike]
    place = {item.row.id: index for index, item in enumerate(items)}
    return tuple(sorted(found, key=lambda bunch: place[bunch.items[0].row.id]))


def listed(rows: Sequence[Row], person: str, groups: tuple[str, ...], observers: Sequence[str]) -> dict[Lens, list[Row]]:
    """Return the rows of each lens for one person, the most severe first, then what ends first."""
    visible = [row for row in rows if sees(row.people, row.groups, row.reviewers, person, groups, observers)]
    ranked = sorted(visible, key=lambda row: (-row.severity.rank, row.expires_at))
    asked = frozenset(groups)
    lenses: dict[Lens, Callable[[Row], bool]] = {
        Lens.MINE: lambda row: waits_for(row, person, asked),
        Lens.GROUPS: lambda row: bool(asked & row.groups),
        Lens.ASKED: lambda row: person in row.people,
        Lens.ALL: lambda row: True,
    }
    return {lens: [row for row in ranked if keeps(row)] for lens, keeps in lenses.items()}


def waits_for(row: Row, person: str, groups: frozenset[str]) -> bool:
    """Could this person's answer move the request? A lost one waits for somebody to record what happened."""
    if person in row.people or not groups & row.groups:
        return False
    return row.state is RequestState.UNKNOWN or (row.state is RequestState.PENDING and person not in row.reviewers)


def list_values(request: AnyRequest, web: Web, selected: str = "") -> dict[str, Any]:
    """Return what the list's template needs."""
    who, chosen = visitor(request), filter_of(request)
    by_lens = listed(web.board.rows(), who.person, web.groups(who), web.parts.observers)
    rows = [row for row in by_lens[chosen.lens] if chosen.keeps(row)]
    items = [Item(row, STATES[row.state], who.person in row.reviewers, who.person in row.people) for row in rows[:AT_ONCE]]
    return {
        "filter": chosen,
        "counts": {lens.value: len(rows) for lens, rows in by_lens.items()},
        "bunches": bunches(items),
        "more": max(0, len(rows) - AT_ONCE),
        "servers": sorted({row.server for row in by_lens[Lens.ALL]}),
        "selected": selected or _selected(request),
    }


def _selected(request: AnyRequest) -> str:
    """The request that the browser has open beside the list, as htmx tells its address."""
    path = urlsplit(request.headers.get("hx-current-url", "")).path
    return path.removeprefix("/r/") if path.startswith("/r/") else ""


@get("/", name="inbox", include_in_schema=False)
async def inbox(request: AnyRequest) -> Response[str]:
    """The list, and the first request beside it."""
    web = Web.of(request)
    values = list_values(request, web)
    first = values["bunches"][0].items[0].row.id if values["bunches"] else ""
    try:
        values |= await detail_values(request, web, first) if first else {"detail": None}
    except UnknownRequest:
        values |= {"detail": None}
    return web.page(request, "inbox.html", **{**values, "selected": first, "chosen": False})


@get("/inbox/list", include_in_schema=False)
async def inbox_list(request: AnyRequest) -> Response[str]:
    """The list alone, for a live update."""
    web = Web.of(request)
    return web.page(request, "_list.html", **list_values(request, web))


ROUTES = (inbox, inbox_list)
